"""Every refusal as an answer of RFC 9457."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from blindgate import problems
from blindgate.errors import BlindgateError
from blindgate.problems import Problem
from gateway.pool import PoolRefused

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import Message, Receive, Scope, Send


class Refused(BlindgateError):
    """A request that is answered with a problem.

    Attributes:
        problem: Which.
        detail: Words about this occurrence; the catalogue's advice if left out.
        headers: Further headers of the answer.
        rest_unread: True if part of the body is still to come: it is thrown away, or the
            connection closed, and not before the client had a chance to read this answer.
        members: Extension members of the problem.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        rest_unread: bool = False,
        **members: object,
    ) -> None:
        super().__init__(detail or problem.title)
        self.problem = problem
        self.detail = detail
        self.headers = dict(headers or {})
        self.rest_unread = rest_unread
        self.members = members

    @classmethod
    def by_pool(cls, refused: PoolRefused, *, rest_unread: bool = False) -> Self:
        """What the pool refused, as a client is told it."""
        headers = {"retry-after": str(refused.retry_after)} if refused.retry_after else None
        return cls(refused.problem, headers=headers, rest_unread=rest_unread)


#: Seconds in which a client that is still sending can notice that it was refused.
_LINGER: Final = 2.0
#: What Starlette raises by itself.
_BY_STATUS = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}
#: Problems that end by themselves and say when to come back.
_PASSING = {
    problems.KMS_UNAVAILABLE,
    problems.OVERLOADED,
    problems.ENCLAVE_UNAVAILABLE,
    problems.SIGN_IN_UNAVAILABLE,
}


def answer(
    request_id: str,
    problem: Problem,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    rest_unread: bool = False,
    **members: object,
) -> Response:
    """A problem as an HTTP answer."""
    sent = {"cache-control": "no-store", **(headers or {})}
    if problem in _PASSING:
        sent.setdefault("retry-after", "1")
    body = problem.body(detail, request_id=request_id, **members)
    return ProblemAnswer(problem, json.dumps(body).encode(), sent, rest_unread)


class ProblemAnswer(Response):
    """An answer that remembers its problem, for logs and metrics."""

    media_type = problems.MEDIA_TYPE

    def __init__(
        self, problem: Problem, body: bytes, headers: Mapping[str, str], rest_unread: bool
    ) -> None:
        super().__init__(body, problem.status, headers)
        self.problem = problem
        self._rest_unread = rest_unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, leaving the problem's name for the access log."""
        scope["state"]["problem"] = self.problem.slug
        if not self._rest_unread or _outlives_rest(scope):
            await super().__call__(scope, receive, send)
            return
        self.headers["connection"] = "close"
        await super().__call__(scope, receive, _holding_open(send))
        await _discard(scope, receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _outlives_rest(scope: Scope) -> bool:
    """Whether the server throws the rest of the body away by itself and keeps the connection."""
    outlive_rest: Callable[[], bool] | None = scope["state"].get("outlive_rest")
    return outlive_rest is not None and outlive_rest()


def _holding_open(send: Send) -> Send:
    """Send everything, but leave the end of the answer, and so of the connection, for later."""

    async def send_part(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "more_body": True}
        await send(message)

    return send_part


async def _discard(scope: Scope, receive: Receive) -> None:
    """Throw the rest of a body away for a while.

    Closing a socket with unread bytes resets the connection, and a client that is still
    sending would then see the reset instead of the answer (RFC 9112 §9.6).
    """
    discard_rest = scope["state"].get("discard_rest")
    if discard_rest is not None:
        await asyncio.wait([discard_rest()], timeout=_LINGER)
        return
    # Another server than ours: it throws away what it is asked for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            more = True
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)


def install(app: FastAPI) -> None:
    """Have an app answer all its errors this way."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(PoolRefused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_exception)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused | PoolRefused)  # noqa: S101 - as registered in install()
    return refusal(request.state.request_id, error)


def refusal(request_id: str, error: Refused | PoolRefused) -> Response:
    """What a request is answered that was refused here, or found no enclave."""
    if isinstance(error, PoolRefused):
        error = Refused.by_pool(error)
    return answer(
        request_id,
        error.problem,
        error.detail,
        headers=error.headers,
        rest_unread=error.rest_unread,
        **error.members,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered in install()
    return answer(
        request.state.request_id, problems.INVALID_REQUEST, errors=validation_faults(error)
    )


def validation_faults(error: RequestValidationError) -> list[dict[str, str]]:
    """The `errors` member for parameters that FastAPI found wrong."""
    return [
        {
            "in": str(found["loc"][0]),
            "parameter": ".".join(map(str, found["loc"][1:])),
            "rule": found["type"],
            "message": found["msg"],
        }
        for found in error.errors()
    ]


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered in install()
    problem = _BY_STATUS.get(error.status_code)
    if problem is None:
        problem = problems.INVALID_REQUEST if error.status_code < 500 else problems.INTERNAL_ERROR
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = _allowed(request) or headers.get("allow", "")
    return answer(request.state.request_id, problem, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of a resource (RFC 9110 §10.2.1); Starlette names those of one route only."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = request.app.openapi()["paths"].get(path, {})
    return ", ".join(sorted(method.upper() for method in methods))
