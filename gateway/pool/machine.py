"""The pool as a state machine: no sockets, no clock, no tasks.

Whoever does the I/O reports what happened through one of the event methods, then calls
`assign` and does what it returns. In the manner of httpcore's connection pool.

Endpoints

    state      meaning                         event            goes to
    JOINING    known; about to be dialled      `verifying`      VERIFYING
    VERIFYING  attestation and status asked    `ready`          READY
                                               `lost`           OUT
    READY      takes traffic                   `drain`          DRAINING
                                               `lost`           OUT
    DRAINING   finishes what it has            `ready`          READY (it changed its mind)
                                               `lost`           OUT
    OUT        left alone until the breaker's  `verifying`      VERIFYING
               pause ends                      `ready`, `drain` nothing
    any        no longer listed                `leave`          DRAINING if it was READY or
                                                                DRAINING; forgotten once its
                                                                last connection is closed

    While the breaker is open no connection is opened, and half-open, one at a time: those that
    are open serve on. A request that fails keeps its caller away from the enclave, and nobody
    else (`gateway.pool.breaker`).

Connections

    state       event                                   goes to
    CONNECTING  `opened`                                IDLE
                `failed`                                CLOSED
    IDLE        given to a waiter by `assign`           BUSY
                `failed`; too old; its endpoint is not  CLOSED
                READY
    BUSY        `released`, reusable, endpoint READY    IDLE
                `released` otherwise; endpoint OUT      CLOSED

Requests

    state   event                                       goes to
    new     `serve_at_once` has a connection for it     SERVED
            `submit`, unless that refuses it            QUEUED
    QUEUED  `assign` gives it a connection              SERVED
            `assign` refuses it, since it is late, has  DONE
            no enclave, or the enclave whose turn it
            is would answer too late; `cancel`
    SERVED  `released`                                  DONE
            `retry` after `released`                    QUEUED, at the head
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from blindgate import problems
from gateway.pool import admission
from gateway.pool.breaker import Breaker, CallerBreakers
from gateway.pool.errors import PoolRefused
from gateway.pool.placement import Plan, PoolLimits
from gateway.pool.queue import Queue
from gateway.pool.service_rate import Pace
from gateway.pool.states import (
    Connection,
    ConnectionState,
    Endpoint,
    EndpointState,
    Waiter,
    WaiterState,
)

if TYPE_CHECKING:
    from blindgate.link import Address


#: Seconds over which those come back who found the queue full: as long as a full one lasts.
_SPREAD: Final = 3


class Machine:
    """See the module.

    Args:
        limits: What is taken at most.
        random: Gives numbers of 0 to 1 for jitter.
    """

    def __init__(self, limits: PoolLimits, random: Callable[[], float]) -> None:
        self.limits = limits
        self._random = random
        self._picks = 0
        # Whether a waiting request may have no enclave any more.
        self._hope_fades = False
        # Whether an enclave or a connection may have to go now, and when the next one is due.
        self._sweep = False
        self._sweep_at = math.inf
        self.endpoints: list[Endpoint] = []
        self.queue = Queue()

    def __repr__(self) -> str:
        return f"<Machine queued: {len(self.queue)}, {self.endpoints!r}>"

    # Events of endpoints

    def join(self, address: Address) -> Endpoint:
        """An enclave is listed."""
        endpoint = Endpoint(address, Breaker(self._random), callers=CallerBreakers(self._random))
        self.endpoints.append(endpoint)
        return endpoint

    def leave(self, endpoint: Endpoint, *, at_once: bool = False) -> None:
        """An enclave is no longer listed.

        Args:
            endpoint: Which.
            at_once: Whether it may not even finish what it has.
        """
        self._hope_fades = self._sweep = True
        endpoint.leaving = True
        finishes = endpoint.state in (EndpointState.READY, EndpointState.DRAINING)
        endpoint.state = EndpointState.DRAINING if finishes and not at_once else EndpointState.OUT

    def verifying(self, endpoint: Endpoint) -> None:
        """An enclave is being dialled and checked."""
        if not endpoint.leaving:
            self._hope_fades = self._sweep = True
            endpoint.state = EndpointState.VERIFYING

    def ready(
        self,
        endpoint: Endpoint,
        *,
        connections: int,
        key_ids: Iterable[int],
        busy_at: int | None = None,
    ) -> None:
        """An enclave's attestation verifies and it says that it takes requests.

        Args:
            endpoint: Which.
            connections: How many it can use.
            key_ids: The OHTTP keys that it holds.
            busy_at: How many requests keep it busy; as many as it can have if left out.
        """
        if endpoint.leaving or endpoint.state is EndpointState.OUT:
            return
        if endpoint.state is not EndpointState.READY:
            endpoint.breaker.succeeded()
            endpoint.callers.clear()
        if endpoint.key_ids != frozenset(key_ids):
            self._hope_fades = True
        endpoint.state = EndpointState.READY
        endpoint.limit = max(1, min(connections, self.limits.connections))
        endpoint.busy_at = min(busy_at or endpoint.limit, endpoint.limit)
        endpoint.key_ids = frozenset(key_ids)

    def drain(self, endpoint: Endpoint) -> None:
        """An enclave finishes what it has and takes nothing new."""
        if endpoint.state is EndpointState.READY:
            self._hope_fades = self._sweep = True
            endpoint.state = EndpointState.DRAINING

    def lost(self, endpoint: Endpoint, now: float) -> float:
        """An enclave is gone, or does not pass its checks.

        Returns:
            When to try it again.
        """
        self._hope_fades = self._sweep = True
        endpoint.state = EndpointState.OUT
        # What comes back may be another build on another machine.
        endpoint.pace = Pace()
        return endpoint.breaker.trip(now)

    # Events of connections

    def opened(self, connection: Connection, now: float) -> None:
        """A connection that was asked for is open, and attested."""
        if connection.state is ConnectionState.CONNECTING:
            if connection.endpoint.state is EndpointState.READY:
                connection.endpoint.breaker.succeeded()
            self._rest(connection, now)

    def failed(self, connection: Connection, now: float) -> None:
        """A connection could not be opened, or ended while it was idle."""
        if connection.state is ConnectionState.CONNECTING:
            self._hope_fades = True
            connection.endpoint.breaker.failed(now)
        if connection.state in (ConnectionState.CONNECTING, ConnectionState.IDLE):
            self._close(connection)

    def released(
        self,
        connection: Connection,
        now: float,
        *,
        reusable: bool,
        healthy: bool | None,
        worked: bool = True,
    ) -> None:
        """The request on a connection is over.

        Args:
            connection: A busy one, or one that was closed under its request.
            now: The time.
            reusable: Whether it can carry another.
            healthy: True for an answer, False if the connection ended or carried no answer,
                None if nothing can be said, as when the client went away.
            worked: False for an answer that says no before any work was done.
        """
        caller = None
        if connection.waiter is not None:
            caller = connection.waiter.caller
            connection.waiter.state = WaiterState.DONE
            connection.waiter = None
        connection.requests += 1
        if healthy is not None and connection.endpoint.state is not EndpointState.OUT:
            callers = connection.endpoint.callers
            if healthy:
                callers.succeeded(caller)
            else:
                self._hope_fades = True
                callers.failed(caller, now)
        if connection.state is not ConnectionState.BUSY:
            return
        if reusable and connection.endpoint.state is EndpointState.READY:
            self._rest(connection, now)
        else:
            self._close(connection)
        endpoint = connection.endpoint
        endpoint.pace.returned(
            now, completed=worked and healthy is True, loaded=endpoint.is_loaded(now)
        )

    # Events of requests

    def serve_at_once(self, waiter: Waiter, now: float) -> Connection | None:
        """Give a new request a connection if one is there: the usual case, without the queue.

        Nothing is left to be assigned by it.
        """
        if self.queue or waiter.expires <= now:
            return None
        connection = self._idle_connection(waiter, now)
        if connection is None:
            return None
        if connection.endpoint.is_loaded(now) and self._has_no_chance(waiter, now):
            return None
        self._give(waiter, connection, now)
        return connection

    def submit(self, waiter: Waiter, now: float) -> None:
        """A request wants an enclave.

        Raises:
            PoolRefused: As `refusal` says; the request is not taken.
        """
        if (refusal := self.refusal(waiter, now)) is not None:
            waiter.state = WaiterState.DONE
            raise refusal
        waiter.state = WaiterState.QUEUED
        self.queue.add(waiter)

    def refusal(self, waiter: Waiter, now: float, *, ahead: int = 0) -> PoolRefused | None:
        """What a new request would be told now; None if it would be taken.

        It is refused if it is too late, the queue is full, or it would be answered too late.

        Args:
            waiter: The request.
            now: The time.
            ahead: Requests that are not here yet and will be in the queue before it.
        """
        if waiter.expires <= now:
            return PoolRefused(problems.DEADLINE_EXCEEDED)
        if self.is_full(now, ahead):
            # Spread, so that those who are refused together do not come back together.
            seconds = 1 + min(int(self._random() * _SPREAD), _SPREAD - 1)
            return PoolRefused(problems.OVERLOADED, retry_after=seconds)
        return self._has_no_chance(waiter, now, ahead)

    def _has_no_chance(self, waiter: Waiter, now: float, ahead: int = 0) -> PoolRefused | None:
        all_open = [
            e for e in self.endpoints if e.state is EndpointState.READY and e.capacity(now) > 0
        ]
        open_to = [e for e in all_open if e.holds(waiter.key_id)]
        left = waiter.expires - now
        return admission.refusal(open_to, all_open, self.queue, ahead, left=left, now=now)

    def is_full(self, now: float, ahead: int = 0) -> bool:
        """Whether one more request would be refused as one too many, with so many before it."""
        if len(self.queue) + ahead < self.limits.queue:
            return False
        # Those for whom there is a place, if not yet a connection, do not count as waiting.
        places = sum(
            max(0, e.capacity(now) - e.outstanding)
            for e in self.endpoints
            if e.state is EndpointState.READY
        )
        return len(self.queue) + ahead >= self.limits.queue + places

    def retry(self, waiter: Waiter, avoid: Endpoint) -> None:
        """A released request was not acted upon and may go to another enclave.

        It goes to the head: it has waited once already. There is no limit to check, since no
        more requests can be retried than there are connections.
        """
        waiter.avoid.add(avoid)
        waiter.state = WaiterState.QUEUED
        self.queue.add(waiter, first=True)

    def cancel(self, waiter: Waiter) -> None:
        """Nobody waits for a queued request any more."""
        if waiter.state is WaiterState.QUEUED:
            self.queue.remove(waiter)
            waiter.state = WaiterState.DONE

    # The one decision

    def assign(self, now: float) -> Plan:
        """Move everything that can move, and say what I/O this takes."""
        plan = Plan()
        if self._sweep or now >= self._sweep_at:
            self._retire(now, plan)
        if self.queue:
            self._serve(now, plan)
        self._grow(now, plan)
        return plan

    def _retire(self, now: float, plan: Plan) -> None:
        """Close what may not, or need not, stay open."""
        self._sweep = False
        self._sweep_at = math.inf
        for endpoint in list(self.endpoints):
            if endpoint.state is EndpointState.READY:
                unwanted = self._idle_too_long(endpoint, now)
            elif endpoint.state is EndpointState.OUT:
                unwanted = list(endpoint.connections)
            else:
                unwanted = [c for c in endpoint.connections if c.state is not ConnectionState.BUSY]
            for connection in unwanted:
                self._move_to_closed(connection)
            plan.close += unwanted
            if endpoint.leaving and not endpoint.connections:
                self.endpoints.remove(endpoint)
            self._note_oldest(endpoint)

    def _idle_too_long(self, endpoint: Endpoint, now: float) -> list[Connection]:
        spare = max(0, len(endpoint.idle) - self.limits.warm)
        longest = self.limits.idle_seconds
        return [c for c in endpoint.idle[:spare] if c.idle_since + longest <= now]

    def _note_oldest(self, endpoint: Endpoint) -> None:
        """Sweep no later than when the connection that is idle for the longest is too old."""
        if len(endpoint.idle) > self.limits.warm:
            ends = endpoint.idle[0].idle_since + self.limits.idle_seconds
            self._sweep_at = min(self._sweep_at, ends)

    def _serve(self, now: float, plan: Plan) -> None:
        """Give idle connections to requests in the order of arrival; refuse the hopeless."""
        queue = self.queue
        for waiter in queue.pop_late(now):
            self._refuse(waiter, PoolRefused(problems.DEADLINE_EXCEEDED), plan)
        # Who has been looked at before and waits still has an enclave, unless something changed.
        looked_at = list(queue) if self._hope_fades else queue.fresh
        for waiter in looked_at:
            if waiter.state is WaiterState.QUEUED and not any(
                self._takes(endpoint, waiter, now) for endpoint in self.endpoints
            ):
                queue.remove(waiter)
                self._refuse(waiter, self._why_none(waiter, now), plan)
        self._hope_fades = False
        queue.fresh.clear()
        passed_over: list[Waiter] = []
        while queue and self._any_free(now):
            waiter = queue.pop()
            connection = self._idle_connection(waiter, now)
            if connection is None:
                passed_over.append(waiter)
            elif self._is_in_vain(waiter, connection.endpoint, now):
                self._refuse(waiter, PoolRefused(problems.DEADLINE_EXCEEDED), plan)
            else:
                self._give(waiter, connection, now)
                plan.give.append((waiter, connection))
        if passed_over:
            queue.put_back(passed_over)

    def _grow(self, now: float, plan: Plan) -> None:
        """Open connections for those who still wait, and the few that are kept warm.

        Each enclave prepares for everybody whom it could serve: with several enclaves that is
        more connections than requests, but whoever is connected first gets the work.
        """
        for endpoint in self.endpoints:
            if endpoint.state is not EndpointState.READY:
                continue
            there = len(endpoint.connections)
            capacity = endpoint.capacity(now)
            room = capacity - there
            if room <= 0 or (there >= self.limits.warm and not self.queue):
                continue
            cold = min(self.limits.warm, capacity) - there
            for _ in range(min(room, max(self._lacking(endpoint, room, now), cold))):
                plan.open.append(endpoint.connect())

    def _lacking(self, endpoint: Endpoint, room: int, now: float) -> int:
        """How many connections are wanted beyond those that come, up to `room` more."""
        coming = endpoint.connecting
        if self.queue.count_for(endpoint) <= coming:
            return 0
        could_serve = (w for w in self.queue if self._takes(endpoint, w, now))
        return sum(1 for _ in islice(could_serve, coming + room)) - coming

    def _takes(self, endpoint: Endpoint, waiter: Waiter, now: float) -> bool:
        return endpoint not in waiter.avoid and endpoint.takes(waiter.caller, waiter.key_id, now)

    def _any_free(self, now: float) -> bool:
        """Whether somebody who waits could be given a connection right now."""
        return any(
            e.idle
            and e.state is EndpointState.READY
            and e.outstanding < e.capacity(now)
            and self.queue.count_for(e)
            for e in self.endpoints
        )

    def _idle_connection(self, waiter: Waiter, now: float) -> Connection | None:
        """The freshest idle connection of the enclave with the least outstanding requests."""
        best: Endpoint | None = None
        for endpoint in self.endpoints:
            if (
                endpoint.idle
                and endpoint.outstanding < endpoint.capacity(now)
                and self._takes(endpoint, waiter, now)
                and (
                    best is None
                    or (endpoint.outstanding, endpoint.picked) < (best.outstanding, best.picked)
                )
            ):
                best = endpoint
        return best.idle[-1] if best is not None else None

    def _is_in_vain(self, waiter: Waiter, endpoint: Endpoint, now: float) -> bool:
        """Whether an enclave would answer too late, and no other one is any better off."""
        return admission.is_in_vain(endpoint, left=waiter.expires - now, now=now) and all(
            e.is_loaded(now) for e in self.endpoints if self._takes(e, waiter, now)
        )

    def _give(self, waiter: Waiter, connection: Connection, now: float) -> None:
        connection.move(ConnectionState.BUSY)
        connection.waiter = waiter
        waiter.state = WaiterState.SERVED
        self._picks += 1
        endpoint = connection.endpoint
        endpoint.picked = self._picks
        endpoint.pace.given(now, loaded=endpoint.is_loaded(now))

    def _rest(self, connection: Connection, now: float) -> None:
        """A connection has nothing to do."""
        connection.idle_since = now
        connection.move(ConnectionState.IDLE)
        if connection.endpoint.state is EndpointState.READY:
            self._note_oldest(connection.endpoint)
        else:
            self._sweep = True

    def _why_none(self, waiter: Waiter, now: float) -> PoolRefused:
        """What to tell a client that no enclave can serve, now that this is certain."""
        ready = [e for e in self.endpoints if e.state is EndpointState.READY]
        if waiter.avoid and any(e in waiter.avoid for e in ready):
            return PoolRefused(problems.OVERLOADED, retry_after=1)
        # An enclave with an open breaker may hold the key: only then is it not unknown.
        if waiter.key_id is not None and ready:
            holders = [e for e in ready if waiter.key_id in e.key_ids]
            if not holders:
                return PoolRefused(problems.OHTTP_KEY)
        pauses = ((e.breaker.until, e.callers.until(waiter.caller)) for e in self.endpoints)
        ends = [max(end for end in each if end is not None) for each in pauses if any(each)]
        wait = min(ends, default=now) - now
        return PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=max(1, math.ceil(wait)))

    @staticmethod
    def _refuse(waiter: Waiter, refusal: PoolRefused, plan: Plan) -> None:
        waiter.state = WaiterState.DONE
        plan.refuse.append((waiter, refusal))

    def _close(self, connection: Connection) -> None:
        self._move_to_closed(connection)
        if connection.endpoint.leaving:
            # It may have been the last.
            self._sweep = True

    def _move_to_closed(self, connection: Connection) -> None:
        connection.move(ConnectionState.CLOSED)
        if connection.endpoint.breaker.until is not None:
            # It may have been the last, and no other may be opened now.
            self._hope_fades = True
