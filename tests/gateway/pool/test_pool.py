"""The pool in motion, with enclaves in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader, UnixAddress
from gateway.pool import Exchange, Pool, PoolLimits, PoolRefused, Probe, Status, StreamLost
from gateway.pool.service_rate import Pace
from gateway.pool.states import EndpointState
from tests.gateway.pool.mock_backend import MockBackend, MockEnclave, MockStream, answer, verify

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def address(name: str) -> UnixAddress:
    return UnixAddress(f"/{name}")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def pooling(
    backend: MockBackend, *, ready: int | None = None, grace: float = 0, **how: Any
) -> AsyncIterator[Pool]:
    how.setdefault("probe", Probe(period=0.02, patience=10))
    pool = Pool(backend, verify, random=lambda: 0.0, **how)
    pool.set_addresses(address(name) for name in backend.enclaves)
    try:
        expected = len(backend.enclaves) if ready is None else ready
        await until(lambda: len(pool.keepers()) == expected)
        yield pool
    finally:
        await pool.stop(grace)
        assert not [s for e in backend.enclaves.values() for s in e.open_streams], "leaked"


def in_(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def detect(pool: Pool, seconds: float = 5, **how: Any) -> bytes:
    done = await pool.request(Operation.DETECT, (b"body",), expires=in_(seconds), **how)
    return bytes(done.body)


async def hang(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
    await asyncio.Event().wait()
    raise AssertionError


async def test_every_connection_attests_before_anything_else() -> None:
    enclave = MockEnclave()
    async with pooling(MockBackend(a=enclave)) as pool:
        assert await detect(pool) == b"answer"
        assert all(s.operations[0] is Operation.ATTEST for s in enclave.streams)
    nonces = [params["nonce"] for op, params, _ in enclave.seen if op is Operation.ATTEST]
    assert len(set(map(str, nonces))) == len(enclave.streams) > 1


async def test_the_enclave_is_told_in_milliseconds_how_long_an_answer_may_take() -> None:
    enclave = MockEnclave()
    probe = Probe(period=0.02, patience=2.5)
    async with pooling(MockBackend(a=enclave), probe=probe) as pool:
        await detect(pool, seconds=500)
        await detect(pool, seconds=1000)
    told: dict[Operation, set[int]] = {}
    for header in enclave.headers:
        told.setdefault(header.operation, set()).add(header.deadline_ms)
    shorter, longest = sorted(told.pop(Operation.DETECT))
    assert 400_000 < shorter <= 500_000
    assert longest == 600_000, "a link frame has no more"
    assert told == {
        Operation.ATTEST: {2500},
        Operation.STATUS: {2500},
        Operation.KEYS: {2500},
    }


async def test_each_request_and_each_nonce_is_new() -> None:
    enclave = MockEnclave()
    async with pooling(MockBackend(a=enclave)) as pool:
        await asyncio.gather(*(detect(pool) for _ in range(3)))
    ids = [header.request_id for header in enclave.headers]
    assert len(set(ids)) == len(ids)
    assert {len(each) for each in ids} == {16}
    nonces = [h.params["nonce"] for h in enclave.headers if h.operation is Operation.ATTEST]
    assert {len(each) for each in nonces if isinstance(each, bytes)} == {32}
    assert {h.body_length for h in enclave.headers if h.operation is not Operation.DETECT} == {0}


@pytest.mark.parametrize(
    ("threads", "connections", "busy_at"),
    [(1, 16, 3), (5, 16, 15), (6, 18, 18), (10, 30, 30), (11, 32, 32), (64, 32, 32)],
)
async def test_an_enclave_has_three_connections_a_thread_and_16_to_32(
    threads: int, connections: int, busy_at: int
) -> None:
    enclave = MockEnclave(status={"threads": threads})
    async with pooling(MockBackend(a=enclave)) as pool:
        (endpoint,) = pool.machine.endpoints
        assert (endpoint.limit, endpoint.busy_at) == (connections, busy_at)


async def test_an_enclave_with_other_measurements_takes_no_traffic() -> None:
    good, other = MockEnclave(), MockEnclave(genuine=False)
    async with pooling(MockBackend(good=good, other=other), ready=1) as pool:
        await asyncio.gather(*(detect(pool) for _ in range(10)))
        assert set(other.operations()) == {Operation.ATTEST}
        other.genuine = True
        await until(lambda: len(pool.keepers()) == 2)


async def test_a_replaced_enclave_is_verified_again_and_refused() -> None:
    enclave = MockEnclave()
    async with pooling(MockBackend(a=enclave)) as pool:
        await detect(pool)
        before = len(enclave.streams)
        enclave.genuine = False
        for stream in enclave.open_streams:
            stream.end()
        await until(lambda: len(enclave.streams) > before)
        with pytest.raises(PoolRefused) as refused:
            await detect(pool)
        assert refused.value.problem is problems.ENCLAVE_UNAVAILABLE
        assert all(s.operations == [Operation.ATTEST] for s in enclave.streams[before:])


async def test_an_enclave_comes_back_after_it_died() -> None:
    enclave = MockEnclave()
    async with pooling(MockBackend(a=enclave)) as pool:
        enclave.die()
        await until(lambda: not pool.is_ready)
        with pytest.raises(PoolRefused):
            await detect(pool)
        enclave.listens = True
        await until(lambda: pool.is_ready)
        assert await detect(pool) == b"answer"


async def test_a_request_that_was_sent_is_never_sent_twice() -> None:
    async def die(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        stream.end()
        await asyncio.Event().wait()
        raise AssertionError

    a, b = MockEnclave(script=die), MockEnclave(script=die)
    async with pooling(MockBackend(a=a, b=b)) as pool:
        with pytest.raises(PoolRefused) as refused:
            await detect(pool)
    assert refused.value.problem is problems.ENCLAVE_UNAVAILABLE
    assert (a.operations() + b.operations()).count(Operation.DETECT) == 1


async def test_a_request_of_which_no_byte_was_sent_goes_to_another_enclave() -> None:
    async def untouched(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        raise StreamLost("broken before the first byte", untouched=True)

    a, b = MockEnclave(script=untouched), MockEnclave()
    async with pooling(MockBackend(a=a, b=b)) as pool:
        assert [await detect(pool) for _ in range(3)] == [b"answer"] * 3
    assert Operation.DETECT in a.operations()


@pytest.mark.parametrize("outcome", [Outcome.DRAINING, Outcome.OVERLOADED])
async def test_a_request_that_was_refused_unopened_goes_to_another_enclave(
    outcome: Outcome,
) -> None:
    async def refuse(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        assert body == b"body"
        return answer(header, outcome)

    a, b = MockEnclave(script=refuse), MockEnclave()
    async with pooling(MockBackend(a=a, b=b), probe=Probe(period=60, patience=1)) as pool:
        assert [await detect(pool) for _ in range(4)] == [b"answer"] * 4
        if outcome is Outcome.DRAINING:
            assert a.operations().count(Operation.DETECT) == 1
            assert pool.machine.endpoints[0].state is EndpointState.DRAINING


async def test_when_the_only_enclave_is_overloaded_the_client_is_told() -> None:
    async def refuse(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        return answer(header, Outcome.OVERLOADED)

    async with pooling(MockBackend(a=MockEnclave(script=refuse))) as pool:
        done = await pool.request(Operation.DETECT, (b"x",), expires=in_(5))
    assert done.outcome is Outcome.OVERLOADED


async def test_when_the_only_enclave_drains_the_client_is_told_to_come_back() -> None:
    async def refuse(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        return answer(header, Outcome.DRAINING)

    enclave = MockEnclave(script=refuse)
    async with pooling(MockBackend(a=enclave), probe=Probe(period=60, patience=1)) as pool:
        with pytest.raises(PoolRefused) as refused:
            await detect(pool)
    assert refused.value.problem is problems.ENCLAVE_UNAVAILABLE


async def test_a_status_that_says_draining_moves_traffic_away() -> None:
    a, b = MockEnclave(), MockEnclave()
    async with pooling(MockBackend(a=a, b=b)) as pool:
        a.status = {"draining": True}
        await until(lambda: len(pool.keepers()) == 1)
        a.seen.clear()
        await asyncio.gather(*(detect(pool) for _ in range(6)))
        assert Operation.DETECT not in a.operations()
        a.status = {}
        await until(lambda: len(pool.keepers()) == 2)


async def test_a_frozen_enclave_is_out_within_a_probe_and_fails_its_requests() -> None:
    enclave = MockEnclave(script=hang)
    async with pooling(MockBackend(a=enclave), probe=Probe(0.02, 0.1)) as pool:
        waiting = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        enclave.status = {"ready": "what?"}
        with pytest.raises(PoolRefused) as refused:
            await waiting
    assert refused.value.problem is problems.ENCLAVE_UNAVAILABLE


async def test_an_enclave_whose_monitor_fails_unexpectedly_is_out_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = True

    async def hook(enclave: Any, status: Status, push: Any) -> None:
        if broken:
            raise KeyError("a fault of ours")

    backend = MockBackend(a=MockEnclave())
    async with pooling(backend, on_status=hook, ready=0) as pool:
        (endpoint,) = pool.machine.endpoints
        await until(lambda: endpoint.state is EndpointState.OUT)
        assert not pool.is_ready
        with pytest.raises(PoolRefused):
            await detect(pool)
        assert "KeyError" in caplog.text
        assert "the monitor of an enclave failed" in caplog.text
        broken = False
        await until(lambda: pool.is_ready)
        assert await detect(pool) == b"answer"


async def test_a_watcher_that_fails_is_logged_and_costs_no_enclave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes: list[int] = []

    def watcher() -> None:
        changes.append(1)
        raise ZeroDivisionError

    async with pooling(MockBackend(a=MockEnclave())) as pool:
        pool.watch(watcher)
        pool.watch(lambda: changes.append(2))
        await until(lambda: len(changes) >= 4)
        assert pool.is_ready
        assert set(changes) == {1, 2}
    assert "a watcher of the pool failed" in caplog.text


async def test_a_broken_request_has_the_monitor_ask_at_that_moment() -> None:
    async def breaks(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        raise StreamLost("reset")

    enclave = MockEnclave(script=breaks)
    # Nobody else would ask within the time of this test.
    async with pooling(MockBackend(a=enclave), probe=Probe(600, 0.5)) as pool:
        await until(lambda: Operation.STATUS in enclave.operations())
        asked = enclave.operations().count(Operation.STATUS)
        with pytest.raises(PoolRefused):
            await detect(pool)
        await until(lambda: enclave.operations().count(Operation.STATUS) > asked)
        assert pool.is_ready


async def test_a_connection_that_ends_while_it_attests_has_the_monitor_ask_too() -> None:
    enclave = MockEnclave()
    async with pooling(
        MockBackend(a=enclave), probe=Probe(600, 30), limits=PoolLimits(warm=0)
    ) as pool:
        asked = enclave.operations().count(Operation.STATUS)
        enclave.listens = False
        waiting = asyncio.create_task(detect(pool, seconds=2))
        await until(lambda: enclave.operations().count(Operation.STATUS) > asked)
        assert pool.is_ready, "its own connection says that it is well"
        with pytest.raises(PoolRefused):
            await waiting
        enclave.listens = True


async def test_opening_that_fails_unexpectedly_lets_waiting_requests_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(MockBackend):
        async def open(self, address: Any, on_lost: Callable[[], None]) -> MockStream:
            if self.dials > 0:
                self.dials += 1
                raise ZeroDivisionError
            return await super().open(address, on_lost)

    backend = Broken(a=MockEnclave())
    async with pooling(backend, probe=Probe(600, 0.5), limits=PoolLimits(warm=0)) as pool:
        with pytest.raises(PoolRefused) as refused:
            await asyncio.wait_for(detect(pool, seconds=60), 5)
    assert refused.value.problem is problems.ENCLAVE_UNAVAILABLE
    assert backend.dials == 4
    assert "ZeroDivisionError" in caplog.text


async def test_a_late_answer_is_504_and_its_connection_is_not_used_again() -> None:
    enclave = MockEnclave(script=hang)
    async with pooling(MockBackend(a=enclave)) as pool:
        with pytest.raises(PoolRefused) as refused:
            await detect(pool, seconds=0.01)
        assert refused.value.problem is problems.DEADLINE_EXCEEDED
        (used,) = [s for s in enclave.streams if Operation.DETECT in s.operations]
        assert used.closed


async def test_a_request_whose_time_ends_in_the_queue_is_504() -> None:
    enclave = MockEnclave(script=hang)
    limits = PoolLimits(connections=1, warm=1)
    async with pooling(MockBackend(a=enclave), limits=limits) as pool:
        first = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        with pytest.raises(PoolRefused) as refused:
            await detect(pool, seconds=0.02)
        assert refused.value.problem is problems.DEADLINE_EXCEEDED
        assert enclave.operations().count(Operation.DETECT) == 1
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_who_would_wait_in_vain_is_told_before_the_body_is_sent() -> None:
    enclave = MockEnclave(script=hang)
    limits = PoolLimits(connections=1, warm=1)
    async with pooling(MockBackend(a=enclave), limits=limits) as pool:
        assert pool.would_refuse(in_(5)) is None
        late = pool.would_refuse(in_(0))
        assert late is not None
        assert late.problem is problems.DEADLINE_EXCEEDED
        running = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        (endpoint,) = pool.machine.endpoints
        endpoint.pace = Pace()
        endpoint.pace.given(0, loaded=True)
        for number in range(1, 50):
            endpoint.pace.returned(number, completed=True, loaded=True)
        why = pool.would_refuse(in_(2))
        assert why is not None
        assert why.problem is problems.OVERLOADED
        assert pool.would_refuse(in_(20)) is None
        with pytest.raises(PoolRefused) as refused:
            await detect(pool, seconds=2)
        assert refused.value.retry_after == why.retry_after
        assert enclave.operations().count(Operation.DETECT) == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("outcome", "samples"), [(Outcome.OK, 3), (Outcome.IMAGE_REJECTED, 3), (Outcome.OVERLOADED, 0)]
)
async def test_what_an_enclave_worked_on_makes_its_pace(outcome: Outcome, samples: int) -> None:
    async def slowly(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        await asyncio.sleep(0.001)
        return answer(header, outcome)

    limits = PoolLimits(connections=1, warm=1)
    async with pooling(MockBackend(a=MockEnclave(script=slowly)), limits=limits) as pool:
        await asyncio.gather(*(detect(pool) for _ in range(3)))
        (endpoint,) = pool.machine.endpoints
        assert f", {samples} samples" in repr(endpoint.pace)


async def test_cancelling_a_request_closes_its_connection() -> None:
    enclave = MockEnclave(script=hang)
    async with pooling(MockBackend(a=enclave)) as pool:
        task = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (used,) = [s for s in enclave.streams if Operation.DETECT in s.operations]
        assert used.closed
        enclave.script = None
        assert await detect(pool) == b"answer"


async def test_cancelling_a_request_in_the_queue_frees_its_place() -> None:
    enclave = MockEnclave(script=hang)
    limits = PoolLimits(queue=1, connections=1, warm=1)
    async with pooling(MockBackend(a=enclave), limits=limits) as pool:
        first = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        second = asyncio.create_task(detect(pool))
        await until(lambda: len(pool.machine.queue) == 1)
        with pytest.raises(PoolRefused) as refused:
            await detect(pool)
        assert refused.value.problem is problems.OVERLOADED
        assert refused.value.retry_after == 1
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert not pool.machine.queue
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_cancelling_in_the_turn_in_which_a_place_is_given_loses_no_connection() -> None:
    release = asyncio.Event()

    async def wait(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        await release.wait()
        return answer(header, body=b"answer")

    enclave = MockEnclave(script=wait)
    limits = PoolLimits(connections=1, warm=1)
    for turns in range(8):
        release.clear()
        async with pooling(MockBackend(a=enclave), limits=limits) as pool:
            first = asyncio.create_task(detect(pool))
            await until(lambda pool=pool: pool.machine.endpoints[0].outstanding == 1)  # type: ignore[misc]
            second = asyncio.create_task(detect(pool))
            third = asyncio.create_task(detect(pool))
            await until(lambda pool=pool: len(pool.machine.queue) == 2)  # type: ignore[misc]
            release.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            second.cancel()
            assert await first == await third == b"answer"
            await asyncio.gather(second, return_exceptions=True)
            assert not pool.machine.endpoints[0].outstanding


async def test_thousands_of_requests_that_come_and_go_leave_nothing_behind() -> None:
    async def flicker(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        for _ in range(len(stream.operations) % 5):
            await asyncio.sleep(0)
        return answer(header, body=b"answer", reusable=len(stream.operations) % 7 != 0)

    a, b = MockEnclave(script=flicker), MockEnclave(script=flicker)
    limits = PoolLimits(queue=2000, connections=4)
    async with pooling(MockBackend(a=a, b=b), limits=limits) as pool:
        tasks = [asyncio.create_task(detect(pool)) for _ in range(1500)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                asyncio.get_running_loop().call_later(number / 20000, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {b"answer"} == {r for r in results if isinstance(r, bytes)}
        others = [r for r in results if not isinstance(r, bytes)]
        assert all(isinstance(r, asyncio.CancelledError) for r in others)
        assert not pool.machine.queue
        for endpoint in pool.machine.endpoints:
            assert endpoint.outstanding == 0
            assert len(endpoint.connections) <= 4


async def test_a_sealed_request_goes_to_the_enclave_that_holds_its_key() -> None:
    a, b = MockEnclave(key_ids=(1,)), MockEnclave(key_ids=(2,))
    async with pooling(MockBackend(a=a, b=b)) as pool:
        for _ in range(3):
            done = await pool.request(Operation.OHTTP, (b"\x02",), expires=in_(5), key_id=2)
            assert done.enclave == address("b")
        with pytest.raises(PoolRefused) as refused:
            await pool.request(Operation.OHTTP, (b"\x03",), expires=in_(5), key_id=3)
        assert refused.value.problem is problems.OHTTP_KEY


async def test_new_keys_are_known_after_a_look() -> None:
    enclave = MockEnclave(key_ids=(1,))
    async with pooling(MockBackend(a=enclave), probe=Probe(60, 1)) as pool:
        enclave.key_ids = (1, 2)
        await pool.look(address("a"))
        (keeper,) = pool.keepers()
        assert keeper.keys == b"keys\x01\x02"
        assert await detect(pool, key_id=2) == b"answer"


async def test_enclaves_that_are_no_longer_listed_finish_and_leave() -> None:
    release = asyncio.Event()

    async def wait(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        await release.wait()
        return answer(header, body=b"old")

    old, new = MockEnclave(script=wait), MockEnclave()
    backend = MockBackend(old=old, new=new)
    pool = Pool(backend, verify, random=lambda: 0.0, probe=Probe(0.02, 0.5))
    pool.set_addresses([address("old")])
    await until(lambda: pool.is_ready)
    running = asyncio.create_task(detect(pool))
    await until(lambda: Operation.DETECT in old.operations())
    pool.set_addresses([address("new")])
    await until(lambda: pool.is_ready)
    assert await detect(pool) == b"answer"
    release.set()
    assert await running == b"old"
    await until(lambda: len(pool.machine.endpoints) == 1)
    await pool.stop()
    assert not old.open_streams
    assert not new.open_streams


async def test_stopping_finishes_what_is_under_way_and_refuses_the_rest() -> None:
    release = asyncio.Event()

    async def wait(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        await release.wait()
        return answer(header, body=b"answer")

    enclave = MockEnclave(script=wait)
    limits = PoolLimits(connections=1, warm=1)
    async with pooling(MockBackend(a=enclave), limits=limits) as pool:
        running = asyncio.create_task(detect(pool))
        await until(lambda: Operation.DETECT in enclave.operations())
        queued = asyncio.create_task(detect(pool))
        await until(lambda: len(pool.machine.queue) == 1)
        stopping = asyncio.create_task(pool.stop(grace=5))
        with pytest.raises(PoolRefused):
            await queued
        with pytest.raises(PoolRefused):
            await detect(pool)
        assert not stopping.done()
        release.set()
        assert await running == b"answer"
        await stopping


async def test_statuses_reach_the_hook_with_a_way_to_push() -> None:
    heard: list[tuple[Any, Status]] = []

    async def hook(enclave: Any, status: Status, push: Any) -> None:
        heard.append((enclave, status))
        if status.needs_credentials:
            enclave_.status = {}
            await push(b"credentials")

    enclave_ = MockEnclave(status={"needs_credentials": True})
    async with pooling(MockBackend(a=enclave_), on_status=hook):
        await until(lambda: len(heard) > 2)
    assert heard[0][0] == address("a")
    assert (Operation.CREDENTIALS, {}, b"credentials") in enclave_.seen


async def test_a_push_that_is_refused_does_not_put_the_enclave_out() -> None:
    refused: list[int] = []

    async def hook(enclave: Any, status: Status, push: Any) -> None:
        refused.append(1)
        await push(b"wrong")

    async def refuse(stream: MockStream, header: RequestHeader, body: bytes) -> Exchange:
        outcome = Outcome.INVALID_REQUEST if body == b"wrong" else Outcome.OK
        return answer(header, outcome)

    enclave = MockEnclave(script=refuse)
    async with pooling(MockBackend(a=enclave), on_status=hook) as pool:
        await until(lambda: len(refused) > 2)
        assert pool.is_ready
        assert not [s for s in enclave.streams if s.closed], "nothing was given up for it"
