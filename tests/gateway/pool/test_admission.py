"""Who is refused before it waits in vain, and who is not."""

from __future__ import annotations

import pytest

from blindgate import problems
from blindgate.link import UnixAddress
from gateway.pool.admission import is_in_vain, refusal
from gateway.pool.breaker import Breaker
from gateway.pool.errors import PoolRefused
from gateway.pool.machine import Machine
from gateway.pool.placement import PoolLimits
from gateway.pool.queue import Queue
from gateway.pool.service_rate import MEMORY, Pace, time_for
from gateway.pool.states import Connection, Endpoint, Waiter, WaiterState


def pace_of(interval: float) -> Pace:
    pace = Pace()
    pace.given(0, loaded=True)
    for number in range(1, MEMORY + 1):
        pace.returned(number * interval, completed=True, loaded=number < MEMORY)
    return pace


def enclave(interval: float | None, *keys: int, outstanding: int = 16) -> Endpoint:
    pace = pace_of(interval) if interval else Pace()
    breaker = Breaker(lambda: 0.0)
    endpoint = Endpoint(UnixAddress("/a"), breaker, pace=pace, key_ids=frozenset(keys))
    endpoint.limit, endpoint.busy_at, endpoint.outstanding = 16, 6, outstanding
    return endpoint


def queue_of(*wanted: int | None) -> Queue:
    queue = Queue()
    for key_id in wanted:
        queue.add(Waiter(100, key_id))
    return queue


def expected(open_to: list[Endpoint], all_open: list[Endpoint], queue: Queue) -> float | None:
    """The shortest time that is enough, to 10 ms; None if any is."""
    if refusal(open_to, all_open, queue, left=0.01, now=0) is None:
        return None
    steps = range(1, 10_000)
    return next(
        n / 100 for n in steps if not refusal(open_to, all_open, queue, left=n / 100, now=0)
    )


def test_what_is_ahead_is_in_the_queue_and_in_the_enclave() -> None:
    one = enclave(0.1)
    needed = expected([one], [one], queue_of(*[None] * 83))
    assert needed == pytest.approx(time_for(83 + 16 + 1, 10), abs=0.01)


def test_two_enclaves_answer_as_fast_as_both_together() -> None:
    both = [enclave(0.1), enclave(0.05)]
    needed = expected(both, both, queue_of(*[None] * 67))
    assert needed == pytest.approx(time_for(67 + 32 + 1, 30), abs=0.01)


def test_who_needs_another_enclave_is_not_in_the_way() -> None:
    a, b = enclave(0.1, 1), enclave(0.1, 2)
    queue = queue_of(*[2] * 100, 1, 1, 1)
    assert expected([a], [a, b], queue) == pytest.approx(time_for(3 + 16 + 1, 10), abs=0.01)


def test_who_may_go_elsewhere_counts_by_its_share() -> None:
    a, b = enclave(0.1, 1), enclave(0.1, 2)
    queue = queue_of(*[None] * 100)
    assert expected([a], [a, b], queue) == pytest.approx(time_for(50 + 16 + 1, 10), abs=0.01)


def test_nobody_is_refused_while_an_enclave_has_nothing_better_to_do() -> None:
    a, b = enclave(100), enclave(100, outstanding=5)
    assert refusal([a], [a, b], queue_of(), left=1, now=0) is not None
    assert refusal([a, b], [a, b], queue_of(), left=1, now=0) is None


def test_nobody_is_refused_while_a_pace_is_unknown() -> None:
    a, b = enclave(100), enclave(None)
    assert refusal([a, b], [a, b], queue_of(*[None] * 200), left=1, now=0) is None


def test_without_an_enclave_there_is_nothing_to_expect() -> None:
    a = enclave(100)
    assert refusal([], [a], queue_of(), left=1, now=0) is None


@pytest.mark.parametrize(("left", "seconds"), [(5.4, 1), (2.6, 3), (0.01, 6)])
def test_retry_after_is_when_there_may_be_a_chance(left: float, seconds: int) -> None:
    a = enclave(0.2)
    assert time_for(17, 5) == pytest.approx(5.56, abs=0.01)
    why = refusal([a], [a], queue_of(), left=left, now=0)
    assert why is not None
    assert why.problem is problems.OVERLOADED
    assert why.retry_after == seconds


def test_retry_after_is_half_a_minute_at_most() -> None:
    a = enclave(60)
    why = refusal([a], [a], queue_of(), left=1, now=0)
    assert why is not None
    assert why.retry_after == 30


def test_a_request_is_in_vain_when_the_mean_is_too_late() -> None:
    full = enclave(0.1, outstanding=15)
    assert not is_in_vain(full, left=1.61, now=0)
    assert is_in_vain(full, left=1.59, now=0)
    assert not is_in_vain(enclave(0.1, outstanding=5), left=0.01, now=0)
    assert not is_in_vain(enclave(None), left=0.01, now=0)


# In the machine


def loaded(limits: PoolLimits, interval: float) -> tuple[Machine, Endpoint, list[Connection]]:
    """A machine whose only enclave has all that it can have, and whose pace is known."""
    pool = Machine(limits, lambda: 1.0)
    endpoint = pool.join(UnixAddress("/a"))
    pool.verifying(endpoint)
    pool.ready(endpoint, connections=4, key_ids=(1,), busy_at=2)
    waiters = [Waiter(1000) for _ in range(4)]
    for waiter in waiters:
        pool.submit(waiter, 0)
    for connection in pool.assign(0).open:
        pool.opened(connection, 0)
    busy = [connection for _, connection in pool.assign(0).give]
    endpoint.pace = pace_of(interval)
    return pool, endpoint, busy


LIMITS = PoolLimits(queue=10, connections=4, warm=0)


def test_a_request_without_a_chance_is_refused_on_arrival() -> None:
    pool, _, _ = loaded(LIMITS, 1.0)
    enough = time_for(5, 1) + 0.1
    assert pool.refusal(Waiter(enough), 0) is None
    with pytest.raises(PoolRefused) as refused:
        pool.submit(Waiter(5), 0)
    assert refused.value.problem is problems.OVERLOADED
    assert refused.value.retry_after == 6
    assert not pool.queue


def test_a_place_at_a_busy_enclave_is_no_chance() -> None:
    pool, endpoint, busy = loaded(LIMITS, 1.0)
    pool.released(busy[0], 0, reusable=True, healthy=True)
    assert pool.assign(0).give == []
    assert endpoint.idle
    assert pool.serve_at_once(Waiter(3), 0) is None
    assert pool.refusal(Waiter(3), 0) is not None
    for connection in busy[1:3]:
        pool.released(connection, 0, reusable=True, healthy=True)
    assert pool.refusal(Waiter(0.01), 0) is None, "it has one request and could do with two"
    assert pool.serve_at_once(Waiter(0.01), 0) is not None


def test_a_key_counts_who_holds_it() -> None:
    pool, _, _ = loaded(LIMITS, 1.0)
    other = pool.join(UnixAddress("/b"))
    pool.verifying(other)
    pool.ready(other, connections=4, key_ids=(2,), busy_at=2)
    assert pool.refusal(Waiter(3, key_id=1), 0) is not None
    assert pool.refusal(Waiter(3, key_id=2), 0) is None
    assert pool.refusal(Waiter(3), 0) is None


def test_an_enclave_that_comes_back_is_measured_anew() -> None:
    pool, endpoint, _ = loaded(LIMITS, 1.0)
    pool.lost(endpoint, 0)
    assert endpoint.pace.interval is None


def test_whose_turn_comes_too_late_for_an_answer_is_504() -> None:
    pool, _, busy = loaded(LIMITS, 1.0)
    patient, late = Waiter(100), Waiter(12)
    pool.submit(late, 0)
    pool.submit(patient, 0)
    assert not pool.assign(0).give
    pool.released(busy[0], 9, reusable=True, healthy=None)
    plan = pool.assign(9)
    assert plan.give == [(patient, busy[0])]
    ((refused, why),) = plan.refuse
    assert refused is late
    assert late.state is WaiterState.DONE
    assert why.problem is problems.DEADLINE_EXCEEDED


def test_completions_under_load_make_the_pace_and_refusals_do_not() -> None:
    pool, endpoint, busy = loaded(PoolLimits(queue=1000, connections=4, warm=0), 1.0)
    endpoint.pace = Pace()
    endpoint.pace.given(0, loaded=True)
    now = 0.0
    for _ in range(MEMORY):
        for worked in (False, True):
            pool.submit(Waiter(now + 1000), now)
            now += 0.1
            pool.released(busy[0], now, reusable=True, healthy=True, worked=worked)
            assert len(pool.assign(now).give) == 1
    assert endpoint.pace.interval == pytest.approx(0.2)


def test_what_is_not_here_yet_is_shared_by_the_enclaves() -> None:
    a, b = enclave(0.1, 1), enclave(0.1, 2)

    def needed(open_to: list[Endpoint], ahead: int) -> float:
        steps = range(1, 10_000)
        return next(
            n / 100
            for n in steps
            if not refusal(open_to, [a, b], queue_of(), ahead, left=n / 100, now=0)
        )

    assert needed([a], 60) == pytest.approx(time_for(30 + 16 + 1, 10), abs=0.01)
    assert needed([a, b], 60) == pytest.approx(time_for(60 + 32 + 1, 20), abs=0.01)


def test_who_wants_a_key_that_no_open_enclave_holds_is_not_in_the_way() -> None:
    a = enclave(0.1, 1)
    queue = queue_of(*[7] * 100, 1)
    assert expected([a], [a], queue) == pytest.approx(time_for(1 + 16 + 1, 10), abs=0.01)


def test_exactly_in_time_is_in_time() -> None:
    a = enclave(0.5)
    enough = time_for(17, 2)
    assert refusal([a], [a], queue_of(), left=enough, now=0) is None
    assert refusal([a], [a], queue_of(), left=enough - 1e-6, now=0) is not None
    # Halves of a second are exact: 16 requests of half a second in 8.
    full = enclave(0.5, outstanding=15)
    assert full.pace.interval == 0.5
    assert not is_in_vain(full, left=8.0, now=0)
    assert is_in_vain(full, left=7.999, now=0)
