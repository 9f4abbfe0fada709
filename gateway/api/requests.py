"""What routes need of a request, and the kind of route for those that are called most."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, TypeAdapter, ValidationError
from starlette.routing import request_response

from blindgate import problems
from blindgate.detections import DetectOptions, describe_faults
from blindgate.link.frames import MAX_DEADLINE_MS
from gateway.auth.guard import access_of
from gateway.dataplane import Dataplane, expiry
from gateway.http.problem_responses import Refused

if TYPE_CHECKING:
    from blindgate.routes import Route
    from gateway.settings import Settings


_TIMEOUT: Final = "Request-Timeout"
_MAX_SECONDS: Final = MAX_DEADLINE_MS / 1000
_SECONDS: Final = TypeAdapter[float](
    Annotated[float, Field(gt=0, le=_MAX_SECONDS, allow_inf_nan=False)]
)


class PlainRoute(APIRoute):
    """A route that Starlette handles alone, described in OpenAPI as all others are.

    FastAPI describes it from the signature of `endpoint`, but resolves none of its dependencies:
    that costs as much CPU as all else that the gateway does for a small body.

    Args:
        path: Its path.
        endpoint: The documented function.
        handle: Gets a request whose caller may make it, and calls `endpoint`.
        described: What `APIRoute` takes, such as `methods` and `gateway.api.openapi.operation`.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Awaitable[Response]],
        handle: Callable[[Request], Awaitable[Response]],
        **described: Any,
    ) -> None:
        super().__init__(path, endpoint, **described)
        access = access_of(self)

        async def guarded(request: Request) -> Response:
            await access.check(request)
            return await handle(request)

        self.app = request_response(guarded)


def at(route: Route) -> dict[str, Any]:
    """The path and method of a route of the table, as FastAPI's routers take them."""
    return {"path": route.path, "methods": [route.method]}


async def dataplane(request: Request) -> Dataplane:
    """The data plane of the application that got a request."""
    plane: Dataplane = request.app.state.dataplane
    return plane


async def _expires(
    request: Request,
    request_timeout: Annotated[
        float | None,
        Header(
            alias=_TIMEOUT,
            gt=0,
            le=_MAX_SECONDS,
            allow_inf_nan=False,
            description="Seconds after which the answer is of no use any more, counted from the "
            "arrival of the request's headers.",
            examples=[10],
        ),
    ] = None,
) -> float:
    return _expiry(request, request_timeout)


def expires(request: Request) -> float:
    """The deadline of a request on the event loop's clock, as FastAPI reads it for other routes.

    Raises:
        RequestValidationError: `Request-Timeout` is not a number of seconds.
        Refused: It is longer than this gateway allows.
    """
    text = request.headers.get(_TIMEOUT)
    try:
        return _expiry(request, None if text is None else _SECONDS.validate_python(text))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise RequestValidationError([{**f, "loc": ("header", _TIMEOUT)} for f in faults]) from None


def _expiry(request: Request, request_timeout: float | None) -> float:
    settings: Settings = request.app.state.settings
    seconds = request_timeout or settings.default_deadline
    if seconds > settings.max_deadline:
        message = f"Input should be less than or equal to {settings.max_deadline:g}"
        fault = {"in": "header", "parameter": _TIMEOUT, "message": message}
        raise Refused(problems.INVALID_REQUEST, errors=[fault])
    return expiry(seconds)


async def detect_options(request: Request) -> DetectOptions:
    """What a client asks of the detector in the query.

    Raises:
        Refused: A parameter is unknown or out of bounds.
    """
    try:
        return DetectOptions.from_query(request.query_params.multi_items())
    except ValidationError as error:
        faults: list[dict[str, Any]] = [{"in": "query", **f} for f in describe_faults(error)]
        raise Refused(problems.INVALID_REQUEST, errors=faults) from None


Plane = Annotated[Dataplane, Depends(dataplane)]
Expires = Annotated[float, Depends(_expires)]
Options = Annotated[DetectOptions, Depends(detect_options)]
