"""What the pool keeps of enclaves, their connections and the requests that wait.

Plain records: `machine.py` moves them, `pool.py` does the I/O that the moves ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import random
from typing import TYPE_CHECKING

from gateway.pool.breaker import Breaker, BreakerState, CallerBreakers
from gateway.pool.service_rate import Pace

if TYPE_CHECKING:
    from blindgate.link import Address
    from gateway.pool.backend import Stream


class EndpointState(StrEnum):
    """The life of an enclave in the pool; the table is in `gateway.pool.machine`."""

    JOINING = "joining"
    VERIFYING = "verifying"
    READY = "ready"
    DRAINING = "draining"
    OUT = "out"


class ConnectionState(StrEnum):
    """The life of a connection; the table is in `gateway.pool.machine`."""

    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    CLOSED = "closed"


class WaiterState(StrEnum):
    """The life of a request in the pool; the table is in `gateway.pool.machine`."""

    QUEUED = "queued"
    SERVED = "served"
    DONE = "done"


@dataclass(eq=False, slots=True)
class Endpoint:
    """One enclave.

    Attributes:
        address: Where it listens.
        breaker: When no connection to it may be opened.
        callers: Which callers are kept away from it.
        state: See the table.
        pace: How fast it answers when it has enough to do.
        limit: Connections that it may have at once.
        busy_at: Requests that keep it busy; more of them wait inside for their turn.
        key_ids: OHTTP key ids that it can open requests for.
        connections: Every connection that is not closed.
        idle: Those of them that are idle, the freshest last.
        connecting: How many of them are being opened.
        outstanding: How many of them are busy: requests that it has not answered yet.
        leaving: True once it is to be forgotten as soon as its last request is answered.
        picked: When it was last given a request, as a count: settles ties fairly.
    """

    address: Address
    breaker: Breaker
    state: EndpointState = EndpointState.JOINING
    pace: Pace = field(default_factory=Pace)
    limit: int = 1
    busy_at: int = 1
    key_ids: frozenset[int] = frozenset()
    connections: list[Connection] = field(default_factory=list)
    idle: list[Connection] = field(default_factory=list)
    connecting: int = 0
    outstanding: int = 0
    leaving: bool = False
    picked: int = 0
    callers: CallerBreakers = field(default_factory=lambda: CallerBreakers(random))

    def __repr__(self) -> str:
        counts = {state: self.count(state) for state in ConnectionState}
        shown = ", ".join(f"{state}: {count}" for state, count in counts.items() if count)
        return f"<Endpoint {self.address} {self.state.upper()} [{shown}]>"

    def count(self, state: ConnectionState) -> int:
        """How many of its connections are in a state."""
        match state:
            case ConnectionState.CONNECTING:
                return self.connecting
            case ConnectionState.IDLE:
                return len(self.idle)
            case ConnectionState.BUSY:
                return self.outstanding
            case ConnectionState.CLOSED:
                return 0

    def holds(self, key_id: int | None) -> bool:
        """Whether it can open requests for a key; None is for those that need no certain one."""
        return key_id is None or key_id in self.key_ids

    def capacity(self, now: float) -> int:
        """How many requests it may have at once.

        While no connection may be opened, as many as it has connections; one more for a trial.
        """
        if self.breaker.until is None:
            return self.limit
        established = len(self.idle) + self.outstanding
        return established + (self.breaker.state(now) is BreakerState.HALF_OPEN)

    def takes(self, caller: bytes | None, key_id: int | None, now: float) -> bool:
        """Whether it may be given a request of this caller for this key."""
        return (
            self.state is EndpointState.READY
            and self.holds(key_id)
            and self.capacity(now) > 0
            and not self.callers.blocks(caller, now)
        )

    def is_loaded(self, now: float) -> bool:
        """Whether one more request would have to wait for its turn."""
        if self.outstanding >= self.busy_at:
            return True
        return self.breaker.until is not None and self.outstanding >= self.capacity(now)

    def connect(self) -> Connection:
        """One more connection, to be opened."""
        connection = Connection(self)
        self.connections.append(connection)
        self.connecting += 1
        return connection


@dataclass(eq=False, slots=True)
class Connection:
    """One connection to an enclave.

    Attributes:
        endpoint: Whose it is.
        state: See the table.
        stream: What carries it, once it is open.
        waiter: The request that it carries while busy.
        idle_since: When it last became idle.
        requests: How many it has carried.
    """

    endpoint: Endpoint
    state: ConnectionState = ConnectionState.CONNECTING
    stream: Stream | None = None
    waiter: Waiter | None = None
    idle_since: float = 0.0
    requests: int = 0

    def __repr__(self) -> str:
        return f"<Connection {self.endpoint.address} {self.state.upper()}, {self.requests} done>"

    def move(self, state: ConnectionState) -> None:
        """Change the state: here and nowhere else, so that the endpoint's counts cannot drift."""
        endpoint = self.endpoint
        match self.state:
            case ConnectionState.IDLE if endpoint.idle[-1] is self:
                endpoint.idle.pop()
            case ConnectionState.IDLE:
                endpoint.idle.remove(self)
            case ConnectionState.BUSY:
                endpoint.outstanding -= 1
            case ConnectionState.CONNECTING:
                endpoint.connecting -= 1
            case ConnectionState.CLOSED:
                raise RuntimeError("a closed connection is closed for good")
        match state:
            case ConnectionState.IDLE:
                endpoint.idle.append(self)
            case ConnectionState.BUSY:
                endpoint.outstanding += 1
            case ConnectionState.CLOSED:
                endpoint.connections.remove(self)
            case ConnectionState.CONNECTING:
                raise RuntimeError("a connection is opened once")
        self.state = state


@dataclass(eq=False, slots=True)
class Waiter:
    """A request, from the queue to its answer.

    Attributes:
        expires: When nobody waits for it any more.
        key_id: The OHTTP key that the enclave must hold; None for any enclave.
        avoid: Enclaves that have refused it already, untouched.
        state: See the table.
        caller: Whose it is, as an opaque tag; None for the gateway's own.
    """

    expires: float
    key_id: int | None = None
    avoid: set[Endpoint] = field(default_factory=set)
    state: WaiterState = WaiterState.QUEUED
    caller: bytes | None = None

    def __repr__(self) -> str:
        return f"<Waiter {self.state.upper()}>"
