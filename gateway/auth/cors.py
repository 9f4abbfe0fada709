"""Which web pages may call (the Fetch standard's CORS protocol), by an allow-list of origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

#: What pages may send; credentials travel in headers, never in cookies.
_SENT: Final = ("accept", "authorization", "content-type", "inference-header-content-length",
                "request-timeout", "x-api-key")  # fmt: skip
#: What pages may read beside the content type.
_READ: Final = ("inference-header-content-length", "ratelimit", "ratelimit-policy", "retry-after",
                "www-authenticate", "x-request-id")  # fmt: skip
#: Browsers ask again after this many seconds at the latest: Chromium's own limit is two hours.
_MAX_AGE: Final = 7200


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of these origins call."""
    options: dict[str, Any] = {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST"],
        "allow_headers": list(_SENT),
        "expose_headers": list(_READ),
        "allow_credentials": False,
        "max_age": _MAX_AGE,
    }
    app.add_middleware(CORSMiddleware, **options)


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
