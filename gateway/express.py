"""The short way for the two requests that nearly all are.

FastAPI looks for a route, resolves its dependencies and validates its parameters anew for each
request: some seven hundred calls of Python functions, nearly half of what a request costs the
gateway. What a plain upload needs of that is known before it comes. So it goes from here
straight to the function that its route calls, with the same values. Whatever is unusual about a
request (a query, a `Request-Timeout` that is no plain number) is FastAPI's to judge, and both ways
answer alike.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from blindgate.detections import DetectOptions
from gateway.auth.guard import signed_in
from gateway.dataplane import expiry
from gateway.pool import PoolRefused
from gateway.problem_answers import Refused, refusal
from gateway.routes import detections, ohttp

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.dataplane import Dataplane

Endpoint = Callable[[Request, "Dataplane", float], Awaitable["Response"]]

_TIMEOUT: Final = b"request-timeout"
#: Seconds that mean the same to everybody who reads them.
_PLAIN: Final = re.compile(rb"[1-9][0-9]{0,5}(\.[0-9]{1,3})?", re.ASCII)
_DEFAULTS: Final = DetectOptions()


async def _detect(request: Request, plane: Dataplane, expires: float) -> Response:
    return await detections.detect(request, plane, _DEFAULTS, expires)


class Express:
    """See the module.

    Args:
        app: The ordinary way.
        plane: What does the work.
        deadline: Seconds that a request has which does not say.
        longest: Seconds that a request may ask for.
    """

    def __init__(self, app: ASGIApp, plane: Dataplane, deadline: float, longest: float) -> None:
        self._app = app
        self._plane = plane
        self._deadline = deadline
        self._longest = longest
        self._endpoints: dict[tuple[str, str], tuple[BaseRoute, Endpoint]] = {
            ("POST", path): (_route(router, path), endpoint)
            for router, path, endpoint in (
                (ohttp.router, "/.well-known/ohttp-gateway", ohttp.open_sealed),
                (detections.router, "/v1/detections", _detect),
            )
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        found = scope["type"] == "http" and self._endpoints.get((scope["method"], scope["path"]))
        seconds = self._seconds(scope) if found and not scope["query_string"] else None
        if not found or seconds is None:
            await self._app(scope, receive, send)
            return
        scope["route"], endpoint = found
        request = Request(scope, receive)
        try:
            await signed_in(request)
            response = await endpoint(request, self._plane, expiry(seconds))
        except (Refused, PoolRefused) as refused:
            response = refusal(request.state.request_id, refused)
        await response(scope, receive, send)

    def _seconds(self, scope: Scope) -> float | None:
        """How long a request has; None if that takes more to find out."""
        said = [value for name, value in scope["headers"] if name == _TIMEOUT]
        if not said:
            return self._deadline
        if len(said) > 1 or not _PLAIN.fullmatch(said[0]):
            return None
        seconds = float(said[0])
        return seconds if seconds <= self._longest else None


def _route(router: APIRouter, path: str) -> BaseRoute:
    """The route of a path that takes bodies: what logs, metrics and sign-in go by."""
    return next(
        route
        for route in router.routes
        if getattr(route, "path", None) == path and "POST" in getattr(route, "methods", ())
    )
