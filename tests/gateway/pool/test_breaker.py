"""Circuit breakers: for an enclave's connections, and for each caller's requests."""

from __future__ import annotations

import pytest

from blindgate import problems
from blindgate.link import UnixAddress
from gateway.pool.breaker import MOST_CALLERS, Breaker, BreakerState, CallerBreakers
from gateway.pool.machine import Machine
from gateway.pool.placement import Plan, PoolLimits
from gateway.pool.states import Connection, ConnectionState, Endpoint, Waiter

ATTACKER, VICTIM = b"a" * 16, b"v" * 16


def machine(*, warm: int = 0, connections: int = 4) -> Machine:
    limits = PoolLimits(queue=10, connections=connections, warm=warm, idle_seconds=1000)
    return Machine(limits, lambda: 1.0)


def ready(pool: Machine, name: str, *keys: int) -> Endpoint:
    endpoint = pool.join(UnixAddress(f"/{name}"))
    pool.verifying(endpoint)
    pool.ready(endpoint, connections=4, key_ids=keys)
    return endpoint


def submit(pool: Machine, caller: bytes | None, now: float, key_id: int | None = None) -> Waiter:
    waiter = Waiter(now + 30, key_id, caller=caller)
    pool.submit(waiter, now)
    return waiter


def serve(pool: Machine, caller: bytes | None, now: float, key_id: int | None = None) -> Connection:
    """Submit a request and carry it to a connection."""
    waiter = submit(pool, caller, now, key_id)
    plan = pool.assign(now)
    for connection in plan.open:
        pool.opened(connection, now)
    given = plan.give or pool.assign(now).give
    (found,) = [connection for served, connection in given if served is waiter]
    return found


def fail(pool: Machine, caller: bytes | None, now: float, times: int = 1) -> None:
    for _ in range(times):
        pool.released(serve(pool, caller, now), now, reusable=False, healthy=False)


def refused(pool: Machine, waiter: Waiter, now: float) -> int | None:
    ((who, why),) = pool.assign(now).refuse
    assert who is waiter
    assert why.problem is problems.ENCLAVE_UNAVAILABLE
    return why.retry_after


def test_the_numbers_are_those_of_the_documentation() -> None:
    breaker = Breaker(lambda: 1.0)
    for _ in range(2):
        breaker.failed(0)
    assert breaker.state(0) is BreakerState.CLOSED
    breaker.failed(0)
    assert breaker.until == 0.5
    assert breaker.state(0.49) is BreakerState.OPEN
    assert breaker.state(0.5) is BreakerState.HALF_OPEN
    breaker.failed(0.5)
    assert breaker.until == 0.5 + 1.0


@pytest.mark.parametrize(("random", "factor"), [(0.0, 0.5), (1.0, 1.0)])
def test_pauses_double_up_to_the_longest_and_jitter_halves_them_at_most(
    random: float, factor: float
) -> None:
    breaker = Breaker(lambda: random)
    pauses = [breaker.trip(0.0) for _ in range(20)]
    assert pauses[:6] == [factor * pause for pause in (0.5, 1, 2, 4, 8, 15)]
    assert max(pauses) == 15 * factor
    breaker.succeeded()
    assert breaker.state(0) is BreakerState.CLOSED
    assert breaker.trip(0.0) == 0.5 * factor


def test_a_success_ends_the_row_of_failures() -> None:
    breaker = Breaker(lambda: 1.0)
    for _ in range(5):
        breaker.failed(0)
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.state(0) is BreakerState.CLOSED


def test_failures_of_one_callers_requests_keep_nobody_else_away() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    fail(pool, ATTACKER, 0, times=3)
    assert endpoint.breaker.state(0) is BreakerState.CLOSED
    assert refused(pool, submit(pool, ATTACKER, 0), 0) == 1
    for caller in (VICTIM, None):
        pool.released(serve(pool, caller, 0), 0, reusable=True, healthy=True)


def test_a_caller_whose_requests_fail_at_one_enclave_is_served_by_another() -> None:
    pool = machine()
    first, second = ready(pool, "a"), ready(pool, "b")
    for _ in range(8):
        connection = serve(pool, VICTIM, 0)
        pool.released(connection, 0, reusable=True, healthy=connection.endpoint is second)
        pool.assign(0)
    assert first.callers.blocks(VICTIM, 0)
    assert not second.callers.blocks(VICTIM, 0)
    assert serve(pool, VICTIM, 0).endpoint is second


def test_a_kept_away_caller_may_try_again_after_the_pause() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    fail(pool, ATTACKER, 0, times=3)
    fail(pool, ATTACKER, 0.5)
    assert refused(pool, submit(pool, ATTACKER, 0.6), 0.6) == 1
    assert refused(pool, submit(pool, ATTACKER, 1.4), 1.4) == 1
    fail(pool, ATTACKER, 1.5)
    assert refused(pool, submit(pool, ATTACKER, 1.6), 1.6) == 2
    pool.released(serve(pool, ATTACKER, 3.5), 3.5, reusable=True, healthy=True)
    assert not len(endpoint.callers)
    fail(pool, ATTACKER, 4, times=2)
    assert not endpoint.callers.blocks(ATTACKER, 4)


def test_a_callers_waiting_requests_are_refused_when_its_pause_begins() -> None:
    pool = machine(connections=3)
    ready(pool, "a")
    used = [serve(pool, ATTACKER, 0) for _ in range(3)]
    waiting = submit(pool, ATTACKER, 0)
    assert not pool.assign(0).refuse
    for connection in used:
        pool.released(connection, 0, reusable=True, healthy=False)
    assert refused(pool, waiting, 0) == 1


def test_retry_after_is_when_the_first_enclave_may_be_tried_by_this_caller() -> None:
    pool = machine()
    first, second = ready(pool, "a"), ready(pool, "b")
    for end, endpoint in ((4, first), (9, second)):
        for _ in range(3):
            endpoint.callers.failed(ATTACKER, end - 0.5)
    assert first.callers.until(ATTACKER) == 4
    assert refused(pool, submit(pool, ATTACKER, 3.5), 3.5) == 1
    for _ in range(4):
        first.callers.failed(ATTACKER, first.callers.until(ATTACKER) or 0)
    assert first.callers.until(ATTACKER) == 4 + 1 + 2 + 4 + 8
    assert refused(pool, submit(pool, ATTACKER, 8.6), 8.6) == 1
    # An enclave whose breaker is open longer than the caller's pause is not there earlier.
    for _ in range(5):
        until = second.breaker.trip(4)
    assert until == 4 + 8
    assert refused(pool, submit(pool, ATTACKER, 8.6), 8.6) == 4


def test_failures_are_forgotten_when_the_enclave_is_verified_again() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    fail(pool, ATTACKER, 0, times=3)
    pool.lost(endpoint, 0)
    pool.verifying(endpoint)
    pool.ready(endpoint, connections=4, key_ids=())
    serve(pool, ATTACKER, 0)


def test_a_request_of_which_nothing_is_known_is_no_failure() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    for _ in range(5):
        pool.released(serve(pool, VICTIM, 0), 0, reusable=False, healthy=None)
    assert not endpoint.callers.blocks(VICTIM, 0)


def test_the_failures_of_a_bounded_number_of_callers_are_kept() -> None:
    callers = CallerBreakers(lambda: 1.0)
    for number in range(10_000):
        callers.failed(b"%d" % number, 0)
        for _ in range(3):
            callers.failed(ATTACKER, 0)
    assert MOST_CALLERS == 256
    assert len(callers) == 256
    assert callers.blocks(ATTACKER, 0), "who fails still is not forgotten"


def dial(pool: Machine, now: float) -> list[Connection]:
    return pool.assign(now).open


def test_connections_that_cannot_be_opened_are_not_tried_for_a_while() -> None:
    pool = machine(warm=1)
    endpoint = ready(pool, "a")
    for _ in range(3):
        (connection,) = dial(pool, 0)
        pool.failed(connection, 0)
    assert endpoint.breaker.state(0) is BreakerState.OPEN
    assert not dial(pool, 0.49)
    assert refused(pool, submit(pool, VICTIM, 0.49), 0.49) == 1
    (trial,) = dial(pool, 0.5)
    assert pool.assign(0.5) == Plan(), "one trial at a time"
    pool.failed(trial, 0.5)
    assert not dial(pool, 1.4)
    (trial,) = dial(pool, 1.5)
    pool.opened(trial, 1.5)
    assert endpoint.breaker.state(1.5) is BreakerState.CLOSED
    assert serve(pool, VICTIM, 1.5) is trial


def test_open_connections_serve_on_while_no_other_can_be_opened() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    there = serve(pool, VICTIM, 0)
    waiting = [submit(pool, VICTIM, 0) for _ in range(3)]
    for connection in dial(pool, 0):
        pool.failed(connection, 0)
    assert endpoint.breaker.state(0) is BreakerState.OPEN
    for waiter in waiting[:2]:
        assert pool.assign(0) == Plan(), "who can be served by it waits"
        pool.released(there, 0, reusable=True, healthy=True)
        assert pool.assign(0).give == [(waiter, there)]
    pool.released(there, 0, reusable=False, healthy=None)
    assert there.state is ConnectionState.CLOSED
    assert refused(pool, waiting[2], 0) == 1


def test_a_connection_whose_request_fails_ends_the_wait_if_it_was_the_last() -> None:
    pool = machine()
    endpoint = ready(pool, "a", 1)
    used = serve(pool, VICTIM, 0)
    waiting = submit(pool, VICTIM, 0, key_id=1)
    for connection in dial(pool, 0):
        pool.failed(connection, 0)
    endpoint.breaker.trip(0)
    assert not pool.assign(0).refuse
    pool.released(used, 0, reusable=False, healthy=False)
    assert refused(pool, waiting, 0) == 1


def test_a_connection_that_opens_late_does_not_shorten_the_pause_of_a_lost_enclave() -> None:
    pool = machine(warm=1)
    endpoint = ready(pool, "a")
    (connection,) = dial(pool, 0)
    pool.lost(endpoint, 0)
    pool.opened(connection, 0)
    assert endpoint.breaker.until == 0.5
    assert pool.lost(endpoint, 0) == 1.0
