"""Each move of the pool, one by one; `test_machine_properties.py` has the promises."""

from __future__ import annotations

import pytest

from blindgate import problems
from blindgate.link import UnixAddress
from gateway.pool.breaker import BreakerState
from gateway.pool.errors import PoolRefused
from gateway.pool.machine import Machine
from gateway.pool.placement import Plan, PoolLimits
from gateway.pool.states import (
    Connection,
    ConnectionState,
    Endpoint,
    EndpointState,
    Waiter,
    WaiterState,
)

NO_WARMTH = PoolLimits(queue=10, connections=4, warm=0, idle_seconds=60)


def machine(limits: PoolLimits = NO_WARMTH) -> Machine:
    return Machine(limits, lambda: 1.0)


def ready(
    pool: Machine, name: str, *, connections: int = 4, keys: tuple[int, ...] = ()
) -> Endpoint:
    endpoint = pool.join(UnixAddress(f"/{name}"))
    pool.verifying(endpoint)
    pool.ready(endpoint, connections=connections, key_ids=keys)
    return endpoint


def submit(pool: Machine, now: float = 0.0, key_id: int | None = None) -> Waiter:
    waiter = Waiter(now + 30, key_id)
    pool.submit(waiter, now)
    return waiter


def connect(pool: Machine, plan: Plan, now: float = 0.0) -> Plan:
    for connection in plan.open:
        pool.opened(connection, now)
    return pool.assign(now)


def serve(pool: Machine, now: float = 0.0, key_id: int | None = None) -> Connection:
    """Submit a request and carry it to a connection."""
    waiter = submit(pool, now, key_id)
    plan = pool.assign(now)
    given = plan.give or connect(pool, plan, now).give
    (found,) = [connection for served, connection in given if served is waiter]
    return found


def refusal(pool: Machine, waiter: Waiter, now: float = 0.0) -> PoolRefused:
    ((refused, why),) = pool.assign(now).refuse
    assert refused is waiter
    assert waiter.state is WaiterState.DONE
    return why


def test_a_request_waits_for_a_connection_that_is_opened_for_it() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    waiter = submit(pool)
    plan = pool.assign(0)
    assert [c.endpoint for c in plan.open] == [endpoint]
    assert not plan.give
    assert connect(pool, plan).give == [(waiter, plan.open[0])]
    assert plan.open[0].state is ConnectionState.BUSY


def test_a_connection_is_used_again() -> None:
    pool = machine()
    ready(pool, "a")
    first = serve(pool)
    pool.released(first, 1, reusable=True, healthy=True)
    assert pool.assign(1) == Plan()
    assert serve(pool, 2) is first


def test_a_connection_that_is_not_reusable_is_forgotten() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    first = serve(pool)
    pool.released(first, 1, reusable=False, healthy=True)
    assert first.state is ConnectionState.CLOSED
    assert not endpoint.connections


def test_a_request_has_an_idle_connection_at_once() -> None:
    pool = machine()
    ready(pool, "a", connections=2)
    first, second = serve(pool), serve(pool)
    for now, connection in enumerate((first, second), 1):
        pool.released(connection, now, reusable=True, healthy=True)
        pool.assign(now)
    given = [pool.serve_at_once(Waiter(30), 3) for _ in range(3)]
    assert given == [second, first, None], "the freshest first"
    assert pool.assign(3) == Plan()


def test_nobody_overtakes_who_waits_and_nobody_late_is_served() -> None:
    pool = machine()
    ready(pool, "a", connections=1)
    busy = serve(pool)
    waiting = submit(pool)
    pool.assign(0)
    pool.released(busy, 1, reusable=True, healthy=True)
    assert pool.serve_at_once(Waiter(30), 1) is None
    assert pool.assign(1).give == [(waiting, busy)]
    pool.released(busy, 2, reusable=True, healthy=True)
    pool.assign(2)
    assert pool.serve_at_once(Waiter(2), 2) is None


def test_an_enclave_that_left_at_once_does_not_finish() -> None:
    pool = machine()
    ready(pool, "a")
    busy = serve(pool)
    pool.leave(busy.endpoint, at_once=True)
    assert pool.assign(1).close == [busy]
    assert not pool.endpoints


def test_a_closed_connection_is_closed_for_good() -> None:
    pool = machine()
    ready(pool, "a")
    connection = serve(pool)
    pool.released(connection, 1, reusable=False, healthy=True)
    with pytest.raises(RuntimeError):
        connection.move(ConnectionState.IDLE)


def test_requests_are_served_in_the_order_of_arrival() -> None:
    pool = machine()
    ready(pool, "a", connections=1)
    busy = serve(pool)
    second, third = submit(pool), submit(pool)
    pool.assign(0)
    pool.released(busy, 1, reusable=True, healthy=True)
    assert pool.assign(1).give == [(second, busy)]
    assert list(pool.queue) == [third]


def test_the_enclave_with_the_least_outstanding_requests_is_picked() -> None:
    pool = machine(PoolLimits(queue=10, connections=4, warm=3))
    a, b = ready(pool, "a"), ready(pool, "b")
    connect(pool, pool.assign(0))
    picked = [serve(pool).endpoint for _ in range(4)]
    assert picked.count(a) == picked.count(b) == 2
    pool.released(a.connections[0], 1, reusable=True, healthy=True)
    pool.assign(1)
    assert serve(pool, 1).endpoint is a


def test_no_more_connections_than_the_enclave_or_the_gateway_allows() -> None:
    pool = machine()
    few = ready(pool, "few", connections=2)
    for _ in range(6):
        submit(pool)
    assert len(pool.assign(0).open) == 2
    pool.ready(few, connections=100, key_ids=())
    assert len(pool.assign(0).open) == 2, "4 in all, as the limits say"


def test_nobody_waits_for_an_enclave_that_is_not_ready() -> None:
    pool = machine()
    joining = pool.join(UnixAddress("/a"))
    assert refusal(pool, submit(pool)).problem is problems.ENCLAVE_UNAVAILABLE
    pool.verifying(joining)
    assert refusal(pool, submit(pool)).problem is problems.ENCLAVE_UNAVAILABLE


@pytest.mark.parametrize("event", ["verifying", "drain", "lost", "leave", "keys"])
def test_those_who_wait_are_refused_when_their_enclave_stops_taking_requests(event: str) -> None:
    pool = machine()
    endpoint = ready(pool, "a", connections=1, keys=(7,))
    serve(pool, key_id=7)
    waiting = submit(pool, key_id=7)
    assert pool.assign(0) == Plan()
    if event == "verifying":
        pool.verifying(endpoint)
    elif event == "drain":
        pool.drain(endpoint)
    elif event == "lost":
        pool.lost(endpoint, 0)
    elif event == "leave":
        pool.leave(endpoint)
    else:
        pool.ready(endpoint, connections=1, key_ids=(8,))
    expected = problems.OHTTP_KEY if event == "keys" else problems.ENCLAVE_UNAVAILABLE
    assert refusal(pool, waiting).problem is expected


@pytest.mark.parametrize("event", ["verifying", "drain", "lost", "leave"])
def test_idle_connections_of_an_enclave_that_takes_no_requests_are_closed(event: str) -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    idle = serve(pool)
    pool.released(idle, 1, reusable=True, healthy=True)
    assert pool.assign(1) == Plan()
    if event == "verifying":
        pool.verifying(endpoint)
    elif event == "drain":
        pool.drain(endpoint)
    elif event == "lost":
        pool.lost(endpoint, 1)
    else:
        pool.leave(endpoint)
    assert pool.assign(1).close == [idle]


def test_retry_after_is_when_the_first_enclave_is_tried_again() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    for _ in range(4):
        again = pool.lost(endpoint, 0)
    waiter = submit(pool)
    assert refusal(pool, waiter).retry_after == again == 4


def test_a_draining_enclave_finishes_what_it_has_and_takes_nothing_new() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    busy, idle = serve(pool), serve(pool)
    pool.released(idle, 1, reusable=True, healthy=True)
    pool.drain(endpoint)
    assert pool.assign(1).close == [idle]
    assert busy.state is ConnectionState.BUSY
    assert refusal(pool, submit(pool)).problem is problems.ENCLAVE_UNAVAILABLE
    pool.released(busy, 2, reusable=True, healthy=True)
    assert busy not in endpoint.connections


def test_a_draining_enclave_may_come_back() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    pool.drain(endpoint)
    pool.ready(endpoint, connections=1, key_ids=())
    assert endpoint.state is EndpointState.READY


def test_a_lost_enclave_closes_everything_at_once() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    busy = serve(pool)
    pool.lost(endpoint, 1)
    assert pool.assign(1).close == [busy]
    pool.released(busy, 1, reusable=False, healthy=False)
    assert pool.assign(1) == Plan()
    assert busy.waiter is None


def test_an_enclave_that_left_is_forgotten_with_its_last_answer() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    busy = serve(pool)
    pool.leave(endpoint)
    pool.assign(0)
    assert pool.endpoints == [endpoint]
    pool.released(busy, 1, reusable=True, healthy=True)
    pool.assign(1)
    assert not pool.endpoints


def test_an_enclave_that_left_or_is_out_does_not_become_ready() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    pool.lost(endpoint, 0)
    pool.ready(endpoint, connections=1, key_ids=())
    assert endpoint.state is EndpointState.OUT
    pool.leave(endpoint)
    pool.verifying(endpoint)
    assert endpoint.state is EndpointState.OUT
    other = ready(pool, "b")
    serve(pool)
    pool.leave(other)
    pool.ready(other, connections=1, key_ids=())
    assert other.state is EndpointState.DRAINING


def test_a_key_picks_the_enclave_that_holds_it() -> None:
    pool = machine()
    ready(pool, "a", keys=(1,))
    b = ready(pool, "b", keys=(2, 3))
    assert serve(pool, key_id=3).endpoint is b


def test_a_key_that_nobody_holds_is_unknown() -> None:
    pool = machine()
    ready(pool, "a", keys=(1,))
    assert refusal(pool, submit(pool, key_id=9)).problem is problems.OHTTP_KEY


def test_without_any_enclave_a_key_is_not_said_to_be_unknown() -> None:
    pool = machine()
    assert refusal(pool, submit(pool, key_id=9)).problem is problems.ENCLAVE_UNAVAILABLE


def test_who_waits_for_a_busy_enclave_does_not_hold_up_the_others() -> None:
    pool = machine()
    ready(pool, "a", connections=1, keys=(1,))
    ready(pool, "b", connections=1, keys=(2,))
    serve(pool, key_id=1)
    waiting = submit(pool, key_id=1)
    pool.assign(0)
    other = serve(pool, key_id=2)
    assert other.waiter is not waiting
    assert list(pool.queue) == [waiting]


def test_a_key_that_is_rotated_away_ends_the_wait_for_it() -> None:
    pool = machine()
    endpoint = ready(pool, "a", connections=1, keys=(1,))
    serve(pool)
    waiter = submit(pool, key_id=1)
    pool.assign(0)
    pool.ready(endpoint, connections=1, key_ids=(2,))
    assert refusal(pool, waiter).problem is problems.OHTTP_KEY


def test_a_full_queue_refuses_at_once() -> None:
    pool = machine(PoolLimits(queue=2, connections=1, warm=0))
    ready(pool, "a")
    serve(pool)
    submit(pool)
    submit(pool)
    with pytest.raises(PoolRefused) as refused:
        submit(pool)
    assert refused.value.problem is problems.OVERLOADED
    assert refused.value.retry_after


def test_those_who_have_a_connection_coming_do_not_fill_the_queue() -> None:
    pool = machine(PoolLimits(queue=2, connections=3, warm=0))
    ready(pool, "a", connections=3)
    lost = ready(pool, "b", connections=3)
    pool.lost(lost, 0)
    for _ in range(3 + 2):
        assert not pool.is_full(0, ahead=4 - len(pool.queue))
        assert pool.is_full(0, ahead=5 - len(pool.queue))
        submit(pool)
    with pytest.raises(PoolRefused):
        submit(pool)


@pytest.mark.parametrize(
    ("random", "seconds"), [(0.0, 1), (0.33, 1), (0.34, 2), (0.67, 3), (0.999, 3), (1.0, 3)]
)
def test_those_who_find_the_queue_full_come_back_within_three_seconds(
    random: float, seconds: int
) -> None:
    pool = Machine(PoolLimits(queue=0, connections=4, warm=0), lambda: random)
    with pytest.raises(PoolRefused) as refused:
        pool.submit(Waiter(30), 0)
    assert refused.value.problem is problems.OVERLOADED
    assert refused.value.retry_after == seconds


def test_late_requests_are_refused_before_and_while_they_wait() -> None:
    pool = machine()
    ready(pool, "a", connections=1)
    serve(pool)
    with pytest.raises(PoolRefused) as refused:
        pool.submit(Waiter(expires=0.0), 0.0)
    assert refused.value.problem is problems.DEADLINE_EXCEEDED
    waiter = submit(pool)
    assert refusal(pool, waiter, now=31).problem is problems.DEADLINE_EXCEEDED


def test_a_client_that_leaves_frees_its_place() -> None:
    pool = machine()
    ready(pool, "a", connections=1)
    serve(pool)
    waiter = submit(pool)
    pool.cancel(waiter)
    pool.cancel(waiter)
    assert not pool.queue


def test_a_retry_goes_to_another_enclave_ahead_of_the_others() -> None:
    pool = machine()
    a = ready(pool, "a", connections=1)
    first = serve(pool)
    waiter = first.waiter
    assert waiter is not None
    b = ready(pool, "b", connections=1)
    other = serve(pool)
    late = submit(pool)
    pool.released(first, 0, reusable=True, healthy=True)
    pool.retry(waiter, a)
    plan = pool.assign(0)
    assert plan.give == [(late, first)], "the first cannot go back to where it came from"
    pool.released(other, 1, reusable=True, healthy=True)
    assert pool.assign(1).give == [(waiter, other)]
    assert other.endpoint is b


def test_a_request_that_every_enclave_refused_is_told_of_overload() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    connection = serve(pool)
    waiter = connection.waiter
    assert waiter is not None
    pool.released(connection, 0, reusable=True, healthy=True)
    pool.retry(waiter, endpoint)
    assert refusal(pool, waiter).problem is problems.OVERLOADED


def test_idle_connections_close_after_a_while_but_for_a_warm_few() -> None:
    pool = machine(PoolLimits(queue=10, connections=4, warm=1, idle_seconds=60))
    endpoint = ready(pool, "a")
    used = [serve(pool) for _ in range(3)]
    for connection in used:
        pool.released(connection, 0, reusable=True, healthy=True)
    assert not pool.assign(59).close
    assert len(pool.assign(60).close) == 2
    assert len(endpoint.connections) == 1


def test_connections_are_kept_warm_without_requests() -> None:
    pool = machine(PoolLimits(warm=2))
    ready(pool, "a")
    assert len(pool.assign(0).open) == 2
    assert not pool.assign(0).open


def test_an_idle_connection_that_ends_is_no_failure() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    connection = serve(pool)
    pool.released(connection, 0, reusable=True, healthy=True)
    for _ in range(4):
        pool.failed(connection, 0)
    assert endpoint.breaker.state(0) is BreakerState.CLOSED


def test_a_connection_that_opens_for_a_lost_enclave_is_closed() -> None:
    pool = machine()
    endpoint = ready(pool, "a")
    submit(pool)
    (connection,) = pool.assign(0).open
    pool.lost(endpoint, 0)
    assert pool.assign(0).close == [connection]
    pool.opened(connection, 0)
    assert connection.state is ConnectionState.CLOSED
    assert not endpoint.connections


def test_states_show_in_representations() -> None:
    pool = machine()
    ready(pool, "a")
    serve(pool)
    assert "READY [busy: 1]" in repr(pool)
