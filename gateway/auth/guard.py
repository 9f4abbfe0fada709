"""The dependency of every route that is not for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import Request

from gateway.auth.caller import Caller, Scope
from gateway.auth.signin import forbidden
from gateway.context import context_of

if TYPE_CHECKING:
    from gateway.auth.rates import RateLimits
    from gateway.auth.signin import SignIn

#: The scope of each operation, by its id. One that is not here takes an administrator, so that
#: a new operation is never open by oversight.
SCOPES: Final[dict[str, Scope]] = {
    "detect": Scope.DETECT,
    "detectAsSample": Scope.DETECT,
    "detectInForm": Scope.DETECT,
    "sendSealed": Scope.DETECT,
    "getOhttpKeys": Scope.ATTEST,
    "getAttestation": Scope.ATTEST,
    "listModels": Scope.ATTEST,
    "infer": Scope.DETECT,
    "inferVersion": Scope.DETECT,
    "getServerMetadata": Scope.ATTEST,
    "getModelMetadata": Scope.ATTEST,
    "getModelVersionMetadata": Scope.ATTEST,
    "listEnclaves": Scope.ADMIN,
    "isModelReady": Scope.ATTEST,
    "isModelVersionReady": Scope.ATTEST,
}
#: Operations that have an enclave do something: each costs one unit at least.
CHARGED: Final = frozenset(
    {"getAttestation", *(name for name, scope in SCOPES.items() if scope is Scope.DETECT)}
)


async def signed_in(request: Request) -> None:
    """Let the request pass if its caller may make it; leaves the caller in the request's context.

    Raises:
        Refused: `unauthorized`, `forbidden` or `rate-limited`.
    """
    sign_in: SignIn = request.app.state.sign_in
    rates: RateLimits | None = request.app.state.rates
    caller: Caller = await sign_in.caller(request)
    context = context_of(request.scope)
    context.caller = caller
    operation = request.scope["route"].operation_id
    scope = SCOPES.get(operation, Scope.ADMIN)
    if scope not in caller.scopes:
        raise forbidden(scope)
    # Only what takes an enclave's time counts; the rest is cheap and clients retry on it.
    if rates is not None and operation in CHARGED:
        standing = await rates.take(caller)
        context.response_headers = standing.headers()


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
