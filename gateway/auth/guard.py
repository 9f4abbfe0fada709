"""Who may call a route and what a call costs: declared with the route, checked before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi import Request
from fastapi.routing import APIRoute

from gateway.auth.caller import Caller, Scope
from gateway.auth.signin import forbidden
from gateway.context import context_of

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from gateway.auth.rates import RateLimits
    from gateway.auth.signin import SignIn


class AccessUndeclared(Exception):
    """A route does not say who may call it."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route, and what a call costs.

    Attributes:
        scope: The scope that a caller needs; None for a route that needs no sign-in.
        units: What a call takes of its caller's rate limit. It is 0 for what takes no enclave's
            time: that is cheap, and clients retry on it.
    """

    scope: Scope | None
    units: int = 0

    async def check(self, request: Request) -> None:
        """Let the request pass if its caller may make it; leaves the caller in its context.

        Raises:
            Refused: `unauthorized`, `forbidden` or `rate-limited`.
        """
        if self.scope is None:
            return
        sign_in: SignIn = request.app.state.sign_in
        rates: RateLimits | None = request.app.state.rates
        caller: Caller = await sign_in.caller(request)
        context = context_of(request.scope)
        context.caller = caller
        if self.scope not in caller.scopes:
            raise forbidden(self.scope)
        if rates is not None and self.units > 0:
            standing = await rates.take(caller, self.units)
            context.response_headers = standing.headers()


#: For everybody: health, documentation and the console's files.
PUBLIC: Final = Access(None)


def access_of(route: APIRoute) -> Access:
    """What a route declares: the one `Access` whose `check` is among its dependencies.

    Raises:
        AccessUndeclared: There is none, or there are several.
    """
    checks = (getattr(each.dependency, "__self__", None) for each in route.dependencies)
    declared = [each for each in checks if isinstance(each, Access)]
    if len(declared) != 1:
        raise AccessUndeclared(f"{route.path} declares {len(declared)} accesses; it needs one")
    return declared[0]


def require_declared(routes: Iterable[BaseRoute], public: Iterable[str]) -> None:
    """Refuse an application with a route that does not declare its access.

    Args:
        routes: All its routes.
        public: Paths of routes that the framework adds, which declare nothing.

    Raises:
        AccessUndeclared: A route declares no access, or cannot.
    """
    exempt = set(public)
    for route in routes:
        if isinstance(route, APIRoute):
            access_of(route)
        elif getattr(route, "path", None) not in exempt:
            raise AccessUndeclared(f"{route!r} is not a route that can declare its access")


async def charge(request: Request, units: int) -> None:
    """Count `units` more for the caller of a request, before they are spent.

    Raises:
        Refused: `rate-limited`.
    """
    rates: RateLimits | None = request.app.state.rates
    if rates is not None and units > 0:
        context = context_of(request.scope)
        standing = await rates.take(context.require_caller(), units)
        context.response_headers = standing.headers()


async def charge_after(request: Request, units: int) -> None:
    """Count `units` more that a request has turned out to cost; never refused."""
    rates: RateLimits | None = request.app.state.rates
    if rates is not None and units > 0:
        context = context_of(request.scope)
        standing = await rates.charge(context.require_caller(), units)
        context.response_headers = standing.headers()
