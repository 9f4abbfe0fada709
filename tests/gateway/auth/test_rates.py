"""What requests cost: before they are made, after they were, and what is owed."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader
from gateway.auth import rates as rates_module
from gateway.auth.caller import EVERYBODY, Caller, CallerTags
from gateway.auth.rates import MOST_DEBTORS, MOST_OWED, RateLimits
from gateway.http.problem_responses import Refused
from tests.gateway.conftest import OCTETS, Served, serve_gateway
from tests.gateway.fake_worker import running
from tests.gateway.test_detections import is_problem

pytestmark = pytest.mark.anyio

URL = "/v1/detections"
OHTTP = "/.well-known/ohttp-gateway"
SEALED = {"content-type": "message/ohttp-req"}
NONCE = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
ATTESTATION = f"/v1/attestation?nonce={NONCE}"
ONE = Caller("api-key", "one", EVERYBODY)
OTHER = Caller("api-key", "other", EVERYBODY)


class Clock:
    def __init__(self) -> None:
        # The beginning of a window, which the library counts from 1970.
        self.now = 6_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


async def refused(rates: RateLimits, caller: Caller, cost: int = 1) -> int:
    with pytest.raises(Refused) as error:
        await rates.take(caller, cost)
    assert error.value.problem is problems.RATE_LIMITED
    return int(error.value.headers["retry-after"])


async def test_a_cost_is_taken_whole_or_not_at_all(clock: Clock) -> None:
    rates = RateLimits("10/minute")
    assert (await rates.take(ONE, 7)).remaining == 3
    assert await refused(rates, ONE, 4) <= 60
    assert (await rates.take(ONE, 3)).remaining == 0
    assert (await rates.take(OTHER, 10)).remaining == 0


async def test_what_was_not_known_before_is_charged_after(clock: Clock) -> None:
    rates = RateLimits("10/minute")
    assert (await rates.take(ONE)).remaining == 9
    assert (await rates.charge(ONE, 5)).remaining == 4
    assert (await rates.charge(ONE, 4)).remaining == 0
    await refused(rates, ONE)


async def test_what_does_not_fit_is_owed_and_paid_by_the_windows_that_follow(clock: Clock) -> None:
    rates = RateLimits("10/minute")
    await rates.take(ONE)
    assert (await rates.charge(ONE, 24)).remaining == 0
    assert repr(rates) == "<RateLimits 10 per 1 minute, 1 callers owe>"
    windows = 0
    while True:
        clock.now += 120  # nothing of the window before counts any more
        windows += 1
        try:
            standing = await rates.take(ONE)
            break
        except Refused:
            assert windows < 10
    # 15 were owed: 10 in the first window, 5 in the second, which has 4 left after this one.
    assert (windows, standing.remaining) == (2, 4)
    assert (await rates.take(OTHER)).remaining == 9


async def test_a_request_of_more_than_a_window_takes_a_whole_one_and_owes_the_rest(
    clock: Clock,
) -> None:
    rates = RateLimits("10/minute")
    assert (await rates.take(ONE, 14)).remaining == 0
    clock.now += 120
    assert (await rates.take(ONE)).remaining == 5
    await refused(rates, ONE, 14)
    assert (await rates.take(ONE)).remaining == 4, "nothing was counted of it"


async def test_concurrent_requests_cannot_owe_more_than_five_windows(clock: Clock) -> None:
    assert MOST_OWED == 5
    rates = RateLimits("10/minute")
    await rates.take(ONE)
    for _ in range(100):
        await rates.charge(ONE, 160)
    for _ in range(5):
        clock.now += 120
        await refused(rates, ONE)
    clock.now += 120
    assert (await rates.take(ONE)).remaining == 9


async def test_a_bounded_number_of_callers_owe(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_DEBTORS == 4096
    monkeypatch.setattr(rates_module, "MOST_DEBTORS", 3)
    rates = RateLimits("1/minute")
    for number in range(5):
        await rates.take(Caller("api-key", str(number), EVERYBODY), 2)
    assert "3 callers owe" in repr(rates)
    clock.now += 120
    await rates.take(Caller("api-key", "1", EVERYBODY))
    await refused(rates, Caller("api-key", "2", EVERYBODY))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (Caller("anonymous", "2001:db8::1", EVERYBODY), "2001:db8::2", True),
        (Caller("anonymous", "2001:db8::1", EVERYBODY), "2001:db8:0:1::1", False),
        (Caller("anonymous", "192.0.2.1", EVERYBODY), "192.0.2.2", False),
        (Caller("oidc", "2001:db8::1", EVERYBODY), "2001:db8::2", False),
    ],
)
async def test_those_who_sign_in_nowhere_share_the_rate_of_their_network(
    one: Caller, other: str, shared: bool
) -> None:
    rates, tags = RateLimits("1/hour"), CallerTags()
    second = replace(one, id=other)
    await rates.take(one)
    if shared:
        await refused(rates, second)
    else:
        await rates.take(second)
    assert (tags.tag(one) == tags.tag(second)) is shared


def left(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    standing = answer.headers["ratelimit"]
    return int(standing.removeprefix('"caller";r=').partition(";")[0])


async def posted(served: Served, query: str = "") -> httpx.Response:
    return await served.http.post(URL + query, content=b"x", headers=OCTETS)


async def test_open_requests_cost_a_unit_for_each_pass(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(
        worker, rate_limit="100/hour"
    ) as served:  # fmt: skip
        assert left(await posted(served)) == 99
        assert left(await posted(served, "?tiles=1")) == 98
        assert left(await posted(served, "?tiles=2")) == 93
        assert left(await posted(served, "?tiles=3")) == 83
        image = {"name": "image", "datatype": "BYTES", "shape": [2], "data": ["QQ==", "Qg=="]}
        worker.answers[Operation.DETECT] = _nothing_found
        infer = {"inputs": [image], "parameters": {"tiles": 3}}
        assert left(await served.http.post("/v2/models/fake/infer", json=infer)) == 63


async def _nothing_found(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
    found = (
        b'{"model":{"name":"fake","version":"1"},"image":{"width":1,"height":1},"detections":[]}'
    )
    return Outcome.OK, found


async def test_a_request_that_does_not_fit_is_refused_before_its_body(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(
        worker, rate_limit="9/hour"
    ) as served:  # fmt: skip
        await posted(served)
        is_problem(await posted(served, "?tiles=3"), problems.RATE_LIMITED)
        assert len(worker.of(Operation.DETECT)) == 1


@pytest.mark.parametrize(
    ("params", "cost"),
    [
        ({}, 1),
        ({"passes": 1}, 1),
        ({"passes": 160}, 160),
        ({"passes": 20, "kms": ["id"] * 2}, 22),
        ({"passes": 1, "kms": ["id"] * 5}, 2),
        ({"passes": 0}, 1),
        ({"passes": -5}, 1),
        ({"passes": True}, 1),
        ({"passes": "many", "kms": "ids"}, 1),
        ({"passes": 2**40}, 1000),
    ],
)
async def test_a_sealed_request_costs_what_the_enclave_did_for_it(
    worker_path: Path, params: dict[str, Any], cost: int
) -> None:
    async with running(worker_path, params={Operation.OHTTP: params}) as worker, serve_gateway(
        worker, rate_limit="2000/hour"
    ) as served:  # fmt: skip
        answer = await served.http.post(OHTTP, content=b"\x07sealed", headers=SEALED)
        assert left(answer) == 2000 - cost


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.ENVELOPE_REJECTED])
async def test_a_call_of_kms_costs_a_unit_whatever_came_of_it(
    worker_path: Path, outcome: Outcome
) -> None:
    async def answer(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        return outcome, b"{}" if outcome is Outcome.OK else b""

    async with running(
        worker_path,
        answers={Operation.DETECT: answer},
        # What an open request's answer says of passes does not count: they are known.
        params={Operation.DETECT: {"kms": ["a", "b"], "passes": 50}},
    ) as worker, serve_gateway(worker, rate_limit="10/hour") as served:  # fmt: skip
        answer_ = await posted(served)
        assert answer_.headers["ratelimit"].startswith('"caller";r=8;')


async def test_attestations_cost_and_what_is_cheap_does_not(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(
        worker, rate_limit="3/hour"
    ) as served:  # fmt: skip
        for remaining in (2, 1, 0):
            assert left(await served.http.get(ATTESTATION)) == remaining
        is_problem(await served.http.get(ATTESTATION), problems.RATE_LIMITED)
        asked = len(worker.of(Operation.ATTEST))
        is_problem(await served.http.get(ATTESTATION), problems.RATE_LIMITED)
        assert len(worker.of(Operation.ATTEST)) == asked
        is_problem(await posted(served), problems.RATE_LIMITED)
        for path in (OHTTP, "/v1/models", "/v2", "/v2/models/fake"):
            assert (await served.http.get(path)).status_code == 200


async def test_a_client_that_leaves_pays_for_the_connection_that_it_ends(
    worker_path: Path,
) -> None:
    async def never(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(worker_path, answers={Operation.DETECT: never}) as worker, serve_gateway(
        worker, rate_limit="10/hour"
    ) as served:  # fmt: skip
        (endpoint,) = served.pool.machine.endpoints
        for number in range(1, 4):
            sent = asyncio.create_task(posted(served))
            await served.until(lambda: len(worker.of(Operation.DETECT)) == number)  # noqa: B023
            sent.cancel()
            await asyncio.wait([sent])
            await served.until(lambda: endpoint.outstanding == 0)
        del worker.answers[Operation.DETECT]
        assert left(await posted(served)) == 10 - 3 * 2 - 1
