"""Which web pages may call (the Fetch standard's CORS protocol), by an allow-list of origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from blindgate import problems
from gateway.context import context_of
from gateway.http.problem_responses import answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.datastructures import Headers
    from starlette.types import Receive, Scope, Send

#: What pages may send; credentials travel in headers, never in cookies.
_SENT: Final = ("accept", "authorization", "content-type", "inference-header-content-length",
                "request-timeout", "traceparent", "tracestate", "x-api-key")  # fmt: skip
#: What pages may read beside the content type.
_READ: Final = ("inference-header-content-length", "ratelimit", "ratelimit-policy", "retry-after",
                "www-authenticate", "x-request-id")  # fmt: skip
#: Browsers ask again after this many seconds at the latest: Chromium's own limit is two hours.
_MAX_AGE: Final = 7200


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of these origins call."""
    options: dict[str, Any] = {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": list(_SENT),
        "expose_headers": list(_READ),
        "allow_credentials": False,
        "max_age": _MAX_AGE,
    }
    app.add_middleware(_Cors, **options)


class _Cors(CORSMiddleware):
    """Refuses a preflight with a problem document instead of plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The response to what a browser asks before it lets a page send a request."""
        response = super().preflight_response(request_headers)
        return response if response.status_code < 400 else _Refusal(response.headers)


class _Refusal(Response):
    """A problem document with the headers of a refused preflight."""

    def __init__(self, cors: Mapping[str, str]) -> None:
        super().__init__()
        self._cors = {k: v for k, v in cors.items() if not k.startswith("content-")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it with the id of this request."""
        request_id = context_of(scope).request_id
        refusal = answer(request_id, problems.CROSS_ORIGIN_REFUSED, headers=self._cors)
        await refusal(scope, receive, send)


def is_origin(text: str) -> bool:
    """Whether this is one origin as browsers write it (RFC 6454 §6.2), and no wildcard."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or "*" in text:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return text == f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
