"""The access of routes: what each declares, and what a declaration lets through and charges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import pytest
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Mount

from blindgate import problems
from gateway.auth.caller import Caller, CallerTags, Scope
from gateway.auth.guard import (
    PUBLIC,
    Access,
    AccessUndeclared,
    access_of,
    charge,
    charge_after,
    require_declared,
)
from gateway.auth.rates import RateLimits
from gateway.context import context_of
from gateway.http.problem_responses import Refused
from tests.gateway.conftest import serve_gateway

pytestmark = pytest.mark.anyio

DETECT: Final = Access(Scope.DETECT, units=1)
#: Every operation of the OpenAPI document.
OPERATIONS: Final = {
    "detect": DETECT,
    "detectAsSample": DETECT,
    "detectInForm": DETECT,
    "sendSealed": DETECT,
    "infer": DETECT,
    "inferVersion": DETECT,
    "getAttestation": Access(Scope.ATTEST, units=1),
    "getOhttpKeys": Access(Scope.ATTEST),
    "listModels": Access(Scope.ATTEST),
    "getServerMetadata": Access(Scope.ATTEST),
    "getModelMetadata": Access(Scope.ATTEST),
    "getModelVersionMetadata": Access(Scope.ATTEST),
    "isModelReady": Access(Scope.ATTEST),
    "isModelVersionReady": Access(Scope.ATTEST),
    "listEnclaves": Access(Scope.ADMIN),
    "isLive": PUBLIC,
    "isReady": PUBLIC,
    "isServerLive": PUBLIC,
    "isServerReady": PUBLIC,
}


async def test_every_operation_declares_this_access() -> None:
    async with serve_gateway() as served:
        routes = [each for each in served.app.routes if isinstance(each, APIRoute)]
    described = {each.operation_id: access_of(each) for each in routes if each.include_in_schema}
    assert described == OPERATIONS
    pages = {each.path: access_of(each) for each in routes if not each.include_in_schema}
    assert "/" in pages
    assert "/docs" in pages
    assert set(pages.values()) == {PUBLIC}


def router(**more: Any) -> APIRouter:
    made = APIRouter()

    @made.get("/declared", dependencies=[Depends(PUBLIC.check)])
    async def declared() -> None:
        """Declares its access."""

    @made.get("/new", **more)
    async def new() -> None:
        """Declares what the test says."""

    return made


def test_a_route_without_access_is_refused_at_start() -> None:
    with pytest.raises(AccessUndeclared, match=r"^/new declares 0 accesses; it needs one$"):
        require_declared(router().routes, public=["/new"])


def test_a_route_with_two_accesses_is_refused_at_start() -> None:
    both = [Depends(PUBLIC.check), Depends(DETECT.check)]
    with pytest.raises(AccessUndeclared, match=r"^/new declares 2 accesses; it needs one$"):
        require_declared(router(dependencies=both).routes, public=[])


def test_what_cannot_declare_access_is_refused_at_start_unless_it_is_named() -> None:
    mounted = Mount("/files", routes=[])
    require_declared([mounted], public=["/files"])
    with pytest.raises(AccessUndeclared, match=r"files.* is not a route that can declare"):
        require_declared([mounted], public=["/other"])


async def test_the_gateway_does_not_start_with_a_route_without_access(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gateway.api import models

    monkeypatch.setattr(models, "router", router())
    with pytest.raises(AccessUndeclared):
        async with serve_gateway():
            pass


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SignIn:
    """Everybody is the same caller."""

    def __init__(self, *scopes: Scope) -> None:
        self._caller = Caller("api-key", "0123", frozenset(scopes))

    async def caller(self, _: Request) -> Caller:
        return self._caller


def request(*scopes: Scope, rates: RateLimits | None = None) -> Request:
    state = SimpleNamespace(sign_in=SignIn(*scopes), rates=rates)
    return Request(
        {
            "type": "http",
            "headers": [],
            "app": SimpleNamespace(state=state),
            "state": {},
        }
    )


@pytest.mark.parametrize("wanted", Scope)
async def test_a_route_wants_its_scope_and_no_other_will_do(wanted: Scope) -> None:
    access = Access(wanted)
    asked = request(wanted)
    await access.check(asked)
    assert str(context_of(asked.scope).caller) == "api-key:0123"
    others = [scope for scope in Scope if scope is not wanted]
    with pytest.raises(Refused) as refused:
        await access.check(request(*others))
    assert refused.value.problem is problems.FORBIDDEN
    assert refused.value.members == {"scope": str(wanted)}
    challenge = refused.value.headers["www-authenticate"]
    assert challenge == f'Bearer realm="blindgate", error="insufficient_scope", scope="{wanted}"'


async def test_a_public_route_asks_nobody_who_they_are() -> None:
    asked = request(rates=RateLimits("1/hour"))
    for _ in range(3):
        await PUBLIC.check(asked)
    assert context_of(asked.scope).caller is None


async def test_a_call_costs_the_units_of_its_route() -> None:
    rates = RateLimits("5/hour")
    access = Access(Scope.DETECT, units=2)
    for left in (3, 1):
        asked = request(Scope.DETECT, rates=rates)
        await access.check(asked)
        headers = context_of(asked.scope).response_headers
        assert headers["ratelimit"].startswith(f'"caller";r={left};t=')
    with pytest.raises(Refused) as refused:
        await access.check(request(Scope.DETECT, rates=rates))
    assert refused.value.problem is problems.RATE_LIMITED


async def test_a_route_without_units_costs_nothing() -> None:
    rates = RateLimits("1/hour")
    for _ in range(3):
        asked = request(Scope.ATTEST, rates=rates)
        await Access(Scope.ATTEST).check(asked)
        assert not context_of(asked.scope).response_headers


async def test_callers_are_not_charged_for_what_they_may_not_do() -> None:
    rates = RateLimits("1/hour")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await DETECT.check(request(Scope.ATTEST, rates=rates))
        assert refused.value.problem is problems.FORBIDDEN


async def test_further_units_are_charged_before_or_after() -> None:
    rates = RateLimits("10/hour")
    asked = request(*Scope, rates=rates)
    await DETECT.check(asked)

    def left() -> str:
        return str(context_of(asked.scope).response_headers["ratelimit"].partition(";t=")[0])

    await charge(asked, 4)
    assert left() == '"caller";r=5'
    for nothing in (0, -1):
        await charge(asked, nothing)
        await charge_after(asked, nothing)
    assert left() == '"caller";r=5'
    with pytest.raises(Refused):
        await charge(asked, 6)
    await charge_after(asked, 6)
    assert left() == '"caller";r=0'
    with pytest.raises(Refused):
        await DETECT.check(request(*Scope, rates=rates))


@pytest.mark.parametrize("how", [charge, charge_after])
async def test_without_a_rate_nothing_is_charged(how: Any) -> None:
    asked = request(*Scope)
    await DETECT.check(asked)
    await how(asked, 1000)
    assert not context_of(asked.scope).response_headers


def test_a_tag_tells_callers_apart_and_says_nothing_of_them() -> None:
    one, other = CallerTags(), CallerTags()
    alice = Caller("oidc", "alice", frozenset())
    again = Caller("oidc", "alice", frozenset({Scope.ADMIN}))
    bob = Caller("oidc", "bob", frozenset())
    assert one.tag(alice) == one.tag(again)
    assert len({one.tag(alice), one.tag(bob), other.tag(alice), other.tag(bob)}) == 4
    assert {len(one.tag(each)) for each in (alice, bob)} == {16}
    assert repr(one) == "<CallerTags>"
