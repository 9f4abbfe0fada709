"""Every refusal as an answer of RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from blindgate import problems
from blindgate.errors import BlindgateError
from blindgate.oip import error_text
from blindgate.problems import Problem
from blindgate.routes import is_protocol_path
from gateway.context import context_of
from gateway.pool import PoolRefused

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import Receive, Scope, Send


class Refused(BlindgateError):
    """A request that is answered with a problem.

    Attributes:
        problem: Which.
        detail: Words about this occurrence; the catalogue's advice if left out.
        headers: Further headers of the answer.
        members: Extension members of the problem.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail or problem.title)
        self.problem = problem
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @classmethod
    def by_pool(cls, refused: PoolRefused) -> Self:
        """What the pool refused, as a client is told it."""
        headers = {"retry-after": str(refused.retry_after)} if refused.retry_after else None
        return cls(refused.problem, headers=headers)


#: What Starlette raises by itself.
_BY_STATUS = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}
#: What our routes may take.
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
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
    **members: object,
) -> Response:
    """A problem as an HTTP answer."""
    sent = {"cache-control": "no-store", **(headers or {})}
    if problem in _PASSING:
        sent.setdefault("retry-after", "1")
    return ProblemAnswer(problem, problem.body(detail, request_id=request_id, **members), sent)


class ProblemAnswer(Response):
    """An answer that remembers its problem, for logs and metrics."""

    media_type = problems.MEDIA_TYPE

    def __init__(
        self, problem: Problem, members: dict[str, Any], headers: Mapping[str, str]
    ) -> None:
        super().__init__(json.dumps(members).encode(), problem.status, headers)
        self.problem = problem
        self._members = members

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, leaving the problem's name for the access log."""
        context_of(scope).problem = self.problem.slug
        if is_protocol_path(scope["path"]):
            # All that clients of the Open Inference Protocol show; whoever refused the request.
            members = {**self._members, "error": error_text(self._members)}
            self.body = json.dumps(members).encode()
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def install(app: FastAPI) -> None:
    """Have an app answer all its errors this way."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(PoolRefused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_exception)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused | PoolRefused)  # noqa: S101 - as registered in install()
    return refusal(context_of(request.scope).request_id, error)


def refusal(request_id: str, error: Refused | PoolRefused) -> Response:
    """What a request is answered that was refused here, or found no enclave."""
    if isinstance(error, PoolRefused):
        error = Refused.by_pool(error)
    return answer(
        request_id,
        error.problem,
        error.detail,
        headers=error.headers,
        **error.members,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered in install()
    return answer(
        context_of(request.scope).request_id,
        problems.INVALID_REQUEST,
        errors=validation_faults(error),
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
        headers["allow"] = _allowed(request)
    return answer(context_of(request.scope).request_id, problem, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of a resource (RFC 9110 §10.2.1); Starlette names those of one route only."""
    methods = {
        method
        for method in _METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    # `gateway.http.edge` handles HEAD as GET.
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
