"""The dependency that lets requests pass, by itself: which operation wants what, and costs what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from blindgate import problems
from gateway.auth.caller import Caller, CallerTags, Scope
from gateway.auth.guard import CHARGED, SCOPES, charge, charge_after, signed_in
from gateway.auth.rates import RateLimits
from gateway.context import context_of
from gateway.http.problem_responses import Refused

pytestmark = pytest.mark.anyio


def test_the_operations_that_cost_are_those_of_the_documentation() -> None:
    detections = {"detect", "detectAsSample", "detectInForm"}
    assert detections | {"sendSealed", "infer", "inferVersion", "getAttestation"} == CHARGED


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SignIn:
    """Everybody is the same caller."""

    def __init__(self, *scopes: Scope) -> None:
        self._caller = Caller("api-key", "0123", frozenset(scopes))

    async def caller(self, _: Request) -> Caller:
        return self._caller


def request(operation: str | None, *scopes: Scope, rates: RateLimits | None = None) -> Request:
    state = SimpleNamespace(sign_in=SignIn(*scopes), rates=rates)
    return Request(
        {
            "type": "http",
            "headers": [],
            "route": SimpleNamespace(operation_id=operation),
            "app": SimpleNamespace(state=state),
            "state": {},
        }
    )


@pytest.mark.parametrize("operation", [*SCOPES, "brandNew", None])
async def test_an_operation_wants_its_scope_and_no_other_will_do(operation: str | None) -> None:
    wanted = SCOPES.get(operation or "", Scope.ADMIN)
    asked = request(operation, wanted)
    await signed_in(asked)
    assert str(context_of(asked.scope).caller) == "api-key:0123"
    others = [scope for scope in Scope if scope is not wanted]
    with pytest.raises(Refused) as refused:
        await signed_in(request(operation, *others))
    assert refused.value.problem is problems.FORBIDDEN
    assert refused.value.members == {"scope": str(wanted)}
    challenge = refused.value.headers["www-authenticate"]
    assert challenge == f'Bearer realm="blindgate", error="insufficient_scope", scope="{wanted}"'


@pytest.mark.parametrize("operation", [*SCOPES, None])
async def test_what_has_an_enclave_do_something_costs_a_unit(operation: str | None) -> None:
    rates = RateLimits("2/hour")
    for left in (1, 0):
        asked = request(operation, *Scope, rates=rates)
        await signed_in(asked)
        headers = context_of(asked.scope).response_headers
        if operation in CHARGED:
            assert headers["ratelimit"].startswith(f'"caller";r={left};t=')
        else:
            assert not headers
    if operation in CHARGED:
        with pytest.raises(Refused) as refused:
            await signed_in(request(operation, *Scope, rates=rates))
        assert refused.value.problem is problems.RATE_LIMITED


async def test_who_may_not_do_something_is_not_charged_for_it() -> None:
    rates = RateLimits("1/hour")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await signed_in(request("detect", Scope.ATTEST, rates=rates))
        assert refused.value.problem is problems.FORBIDDEN


async def test_further_units_are_charged_before_or_after() -> None:
    rates = RateLimits("10/hour")
    asked = request("infer", *Scope, rates=rates)
    await signed_in(asked)

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
        await signed_in(request("infer", *Scope, rates=rates))


@pytest.mark.parametrize("how", [charge, charge_after])
async def test_without_a_rate_nothing_is_charged(how: Any) -> None:
    asked = request("infer", *Scope)
    await signed_in(asked)
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
