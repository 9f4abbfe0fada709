"""Whatever happens in whatever order, the pool's promises hold."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blindgate import problems
from blindgate.link import UnixAddress
from gateway.pool.breaker import BreakerState
from gateway.pool.errors import PoolRefused
from gateway.pool.machine import Machine
from gateway.pool.placement import Plan, PoolLimits
from gateway.pool.service_rate import MEMORY, Pace
from gateway.pool.states import (
    Connection,
    ConnectionState,
    Endpoint,
    EndpointState,
    Waiter,
    WaiterState,
)

pytestmark = pytest.mark.slow

LIMITS = PoolLimits(queue=5, connections=4, warm=1, idle_seconds=10)
pick = st.integers(0, 1000)
keys = st.frozensets(st.integers(1, 3), max_size=2)


class PoolPromises(RuleBasedStateMachine):
    """A model of the driver: it does what plans say, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.machine = Machine(LIMITS, lambda: 0.5)
        self.joined = 0
        # Ordered, so that the same choices give the same run.
        self.open: dict[Connection, None] = {}
        self.dialling: dict[Connection, None] = {}
        self.in_use: dict[Connection, Waiter] = {}
        self.waiting: dict[Waiter, None] = {}
        self.answered: dict[Waiter, int] = {}

    def settle(self) -> None:
        plan = self.machine.assign(self.now)
        for connection in plan.close:
            assert connection.state is ConnectionState.CLOSED
            if connection in self.in_use:
                assert connection.endpoint.state is EndpointState.OUT
            self.open.pop(connection, None)
            self.dialling.pop(connection, None)
        for waiter, refusal in plan.refuse:
            assert isinstance(refusal, PoolRefused)
            if refusal.problem is problems.DEADLINE_EXCEEDED:
                assert waiter.expires <= self.now or not self.has_idle_capacity(waiter)
            self.answer(waiter)
        for waiter, connection in plan.give:
            self.check_gift(waiter, connection)
            self.in_use[connection] = self.give(waiter)
        for connection in plan.open:
            endpoint = connection.endpoint
            assert endpoint.state is EndpointState.READY
            assert len(endpoint.connections) <= min(endpoint.limit, LIMITS.connections)
            self.dialling[connection] = None
        again = self.machine.assign(self.now)
        assert again == Plan(), "one assignment settles everything"

    def check_gift(self, waiter: Waiter, connection: Connection) -> None:
        endpoint = connection.endpoint
        assert connection in self.open, "only open connections carry requests"
        assert connection not in self.in_use, "a connection carries one request at a time"
        assert waiter in self.waiting, "only who waits is served, and once"
        assert endpoint.state is EndpointState.READY
        assert waiter.key_id is None or waiter.key_id in endpoint.key_ids
        assert endpoint not in waiter.avoid
        assert not endpoint.callers.blocks(waiter.caller, self.now)

    def has_idle_capacity(self, waiter: Waiter) -> bool:
        """Whether an enclave that may take a request could start on it at once."""
        return any(
            e not in waiter.avoid
            and self.may_take(e, waiter)
            and e.outstanding < min(e.busy_at, e.capacity(self.now))
            for e in self.machine.endpoints
        )

    def may_take(self, endpoint: Endpoint, waiter: Waiter) -> bool:
        """Whether an enclave serves this caller and key, and has or may open a connection."""
        return (
            endpoint.state is EndpointState.READY
            and (waiter.key_id is None or waiter.key_id in endpoint.key_ids)
            and not endpoint.callers.blocks(waiter.caller, self.now)
            and (
                endpoint.breaker.state(self.now) is not BreakerState.OPEN
                or any(c in self.open for c in endpoint.connections)
            )
        )

    def check_refusal(self, waiter: Waiter, refusal: PoolRefused, told: PoolRefused | None) -> None:
        """Of a request that is refused on arrival."""
        assert told is not None
        assert (told.problem, told.retry_after) == (refusal.problem, refusal.retry_after)
        if waiter.expires <= self.now:
            assert refusal.problem is problems.DEADLINE_EXCEEDED
            return
        assert refusal.problem is problems.OVERLOADED
        assert refusal.retry_after is not None
        assert 1 <= refusal.retry_after <= 30
        full = len(self.machine.queue) >= LIMITS.queue
        assert full or not self.has_idle_capacity(waiter)

    def give(self, waiter: Waiter) -> Waiter:
        assert waiter.state is WaiterState.SERVED
        assert waiter.expires > self.now, "nothing is given to who is too late"
        del self.waiting[waiter]
        return waiter

    def answer(self, waiter: Waiter) -> None:
        self.waiting.pop(waiter, None)
        self.answered[waiter] = self.answered.get(waiter, 0) + 1
        assert self.answered[waiter] == 1, "a request is answered once"

    def endpoint(self, number: int) -> Endpoint:
        return self.machine.endpoints[number % len(self.machine.endpoints)]

    # Enclaves

    @initialize(count=st.integers(0, 2), key_ids=st.lists(keys, min_size=2, max_size=2))
    def start(self, count: int, key_ids: list[frozenset[int]]) -> None:
        """Most runs begin with enclaves that work: what is interesting happens after that."""
        for number in range(count):
            self.join()
            self.become_ready(number, 3, key_ids[number], 2)
            self.finish_dialling(0, True)

    @precondition(lambda self: len(self.machine.endpoints) < 3)
    @rule()
    def join(self) -> None:
        self.joined += 1
        self.machine.join(UnixAddress(f"/{self.joined}"))
        self.settle()

    @precondition(lambda self: self.machine.endpoints)
    @rule(
        number=pick,
        connections=st.integers(1, 6),
        key_ids=keys,
        busy_at=st.none() | st.integers(1, 4),
    )
    def become_ready(
        self, number: int, connections: int, key_ids: frozenset[int], busy_at: int | None
    ) -> None:
        endpoint = self.endpoint(number)
        if endpoint.state in (EndpointState.JOINING, EndpointState.OUT):
            self.machine.verifying(endpoint)
        self.machine.ready(endpoint, connections=connections, key_ids=key_ids, busy_at=busy_at)
        self.settle()

    @precondition(lambda self: self.machine.endpoints)
    @rule(number=pick, interval=st.sampled_from([0.01, 1, 20, 80]))
    def pace_becomes_known(self, number: int, interval: float) -> None:
        """As after some tens of completions; few runs are long enough to have as many."""
        endpoint = self.endpoint(number)
        endpoint.pace = Pace()
        endpoint.pace.given(self.now, loaded=True)
        for left in reversed(range(MEMORY)):
            self.now += interval
            loaded = left > 0 or endpoint.is_loaded(self.now)
            endpoint.pace.returned(self.now, completed=True, loaded=loaded)
        self.settle()

    @precondition(lambda self: self.machine.endpoints)
    @rule(number=pick, what=st.sampled_from(["drain", "drain", "lose", "lose", "leave"]))
    def trouble(self, number: int, what: str) -> None:
        endpoint = self.endpoint(number)
        match what:
            case "drain":
                self.machine.drain(endpoint)
            case "lose":
                assert self.machine.lost(endpoint, self.now) > self.now
            case _:
                self.machine.leave(endpoint)
        self.settle()

    # Connections

    @precondition(lambda self: self.dialling)
    @rule(number=pick, works=st.sampled_from([True, True, True, False]))
    def finish_dialling(self, number: int, works: bool) -> None:
        connection = list(self.dialling)[number % len(self.dialling)]
        del self.dialling[connection]
        if works:
            self.open[connection] = None
            self.machine.opened(connection, self.now)
        else:
            self.machine.failed(connection, self.now)
        self.settle()

    @precondition(lambda self: self.open.keys() - self.in_use.keys())
    @rule(number=pick)
    def idle_connection_ends(self, number: int) -> None:
        idle = [c for c in self.open if c not in self.in_use]
        connection = idle[number % len(idle)]
        del self.open[connection]
        self.machine.failed(connection, self.now)
        self.settle()

    @precondition(lambda self: self.in_use)
    @rule(
        number=pick,
        reusable=st.booleans(),
        healthy=st.sampled_from([True, True, False, None]),
        retry=st.booleans(),
    )
    def request_ends(self, number: int, reusable: bool, healthy: bool | None, retry: bool) -> None:
        connection = list(self.in_use)[number % len(self.in_use)]
        waiter = self.in_use.pop(connection)
        was_closed = connection.state is ConnectionState.CLOSED
        self.machine.released(connection, self.now, reusable=reusable, healthy=healthy)
        if connection.state is ConnectionState.CLOSED:
            self.open.pop(connection, None)
        assert not (was_closed and connection.state is not ConnectionState.CLOSED)
        assert waiter.state is WaiterState.DONE
        if retry:
            self.waiting[waiter] = None
            self.machine.retry(waiter, connection.endpoint)
        else:
            self.answer(waiter)
        self.settle()

    # Requests

    @rule(
        key_id=st.none() | st.none() | st.integers(1, 3),
        seconds=st.sampled_from([0, 1, 100, 100, 100]),
        at_once=st.booleans(),
        caller=st.sampled_from([None, b"a", b"b"]),
    )
    def submit(self, key_id: int | None, seconds: int, at_once: bool, caller: bytes | None) -> None:
        waiter = Waiter(self.now + seconds, key_id, caller=caller)
        if at_once and (connection := self.machine.serve_at_once(waiter, self.now)) is not None:
            self.waiting[waiter] = None
            self.check_gift(waiter, connection)
            self.in_use[connection] = self.give(waiter)
            assert self.machine.assign(self.now) == Plan(), "it leaves nothing to assign"
            return
        told = self.machine.refusal(waiter, self.now)
        try:
            self.machine.submit(waiter, self.now)
        except PoolRefused as refused:
            self.answer(waiter)
            self.check_refusal(waiter, refused, told)
            return
        assert told is None
        self.waiting[waiter] = None
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(number=pick)
    def client_leaves(self, number: int) -> None:
        waiter = list(self.waiting)[number % len(self.waiting)]
        self.machine.cancel(waiter)
        self.answer(waiter)
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 0.1, 2, 20]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    # Promises

    @invariant()
    def no_request_is_lost(self) -> None:
        assert set(self.machine.queue) == self.waiting.keys()
        assert len(self.machine.queue) == len(self.waiting)

    @invariant()
    def nobody_waits_who_could_be_served_or_has_no_hope(self) -> None:
        for waiter in self.machine.queue:
            assert waiter.expires > self.now
            hope = [
                e
                for e in self.machine.endpoints
                if e not in waiter.avoid and self.may_take(e, waiter)
            ]
            assert hope, "who has no enclave to wait for is told so"
            usable = [
                e
                for e in hope
                if e.breaker.state(self.now) is BreakerState.CLOSED and e.outstanding < e.limit
            ]
            assert not any(e.count(ConnectionState.IDLE) for e in usable)
            coming = any(e.count(ConnectionState.CONNECTING) for e in hope)
            assert coming or not usable

    @invariant()
    def no_connection_leaks(self) -> None:
        listed = {c for e in self.machine.endpoints for c in e.connections}
        assert all(c.state is not ConnectionState.CLOSED for c in listed)
        states = {
            ConnectionState.CONNECTING: self.dialling.keys(),
            ConnectionState.IDLE: self.open.keys() - self.in_use.keys(),
            ConnectionState.BUSY: self.open.keys() & self.in_use.keys(),
        }
        for state, expected in states.items():
            assert {c for c in listed if c.state is state} == expected

    @invariant()
    def counts_are_those_of_a_recount(self) -> None:
        for endpoint in self.machine.endpoints:
            for state in ConnectionState:
                counted = sum(c.state is state for c in endpoint.connections)
                assert endpoint.count(state) == counted
            since = [c.idle_since for c in endpoint.idle]
            assert since == sorted(since), "the freshest is the last"
            assert all(c.state is ConnectionState.IDLE for c in endpoint.idle)
            wanted = [w for w in self.waiting if w.key_id in {None, *endpoint.key_ids}]
            assert self.machine.queue.count_for(endpoint) == len(wanted)
        for waiter in self.waiting:
            assert self.machine.queue.earliest <= waiter.expires

    @invariant()
    def what_is_too_old_is_closed(self) -> None:
        for endpoint in self.machine.endpoints:
            if endpoint.state is not EndpointState.READY:
                assert not endpoint.idle
            old = [c for c in endpoint.idle if c.idle_since + LIMITS.idle_seconds <= self.now]
            assert not old or len(endpoint.idle) <= LIMITS.warm
            assert endpoint.connections or not endpoint.leaving

    @invariant()
    def limits_are_kept(self) -> None:
        for endpoint in self.machine.endpoints:
            assert len(endpoint.connections) <= LIMITS.connections

    def teardown(self) -> None:
        """When every enclave goes, everybody is answered and nothing is left open."""
        for endpoint in list(self.machine.endpoints):
            self.machine.leave(endpoint)
        self.settle()
        assert not self.waiting
        for connection, waiter in list(self.in_use.items()):
            del self.in_use[connection]
            self.machine.released(connection, self.now, reusable=True, healthy=True)
            self.open.pop(connection, None)
            self.answer(waiter)
        self.settle()
        assert not self.machine.endpoints
        assert not self.open
        assert not self.dialling


TestPoolPromises = PoolPromises.TestCase
TestPoolPromises.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
