"""The pool: carries out what the machine decides.

`machine.py` holds every rule; here are the sockets, the tasks and the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from blindgate import problems
from blindgate.link import DialError, HeaderTooLarge, Operation, Outcome, RequestHeader
from blindgate.link.frames import MAX_DEADLINE_MS, REQUEST_ID_BYTES, Params
from gateway.pool.backend import Backend, Chunks, Exchange, Stream
from gateway.pool.errors import EnclaveRefused, PoolRefused, StreamLost
from gateway.pool.machine import Machine
from gateway.pool.monitor import Keeper, Probe, StatusHook
from gateway.pool.placement import Plan, PoolLimits
from gateway.pool.states import Connection, ConnectionState, Endpoint, EndpointState, Waiter
from gateway.pool.verification import Verify, attest
from gateway.telemetry.timeline import CANCELLED, LOST, Stage, Timeline

if TYPE_CHECKING:
    from blindgate.link import Address
    from gateway.pool.status import Status

_log = logging.getLogger(__name__)

#: The worker answers a late request itself; this much more covers the way back, so that its
#: connection is closed only if it does not answer at all.
_DEADLINE_GRACE: Final = 0.5
#: One computes, one waits its turn with its body already there, one is on its way or at KMS.
_CONNECTIONS_A_THREAD: Final = 3
#: A worker lets eight requests wait for KMS: should it be slow, as many again are left to those
#: that need no KMS.
_LEAST_CONNECTIONS: Final = 16

#: Answers that say how the enclave is, not what became of the request: no work was done for
#: them. Rejections of what is in a request are work: the queue holds as many more of these.
_NO_WORK: Final = frozenset(
    {Outcome.OVERLOADED, Outcome.DRAINING, Outcome.DEADLINE_EXCEEDED, Outcome.KMS_UNAVAILABLE}
)

_random: Final = SystemRandom().random


@dataclass(frozen=True, slots=True)
class EnclaveAnswer:
    """What an enclave answered.

    Attributes:
        outcome: How it ended.
        body: The answer's body.
        enclave: The address of the enclave that answered.
        params: Small values that belong to the answer (docs/link.md §5).
    """

    outcome: Outcome
    body: bytes | bytearray | memoryview
    enclave: Address
    params: Params = field(default_factory=dict)


class Pool:
    """Several enclaves, their connections, and the requests that wait for them.

    Args:
        backend: Opens connections.
        verify: Checks an attestation document against a nonce; raises if it does not pass.
        limits: What is taken at most.
        probe: How often and how patiently enclaves are asked for their status.
        on_status: Told every status that a verified enclave gives, with a way to send it
            credentials.
        random: Gives numbers of 0 to 1 for jitter.
    """

    def __init__(
        self,
        backend: Backend,
        verify: Verify,
        *,
        limits: PoolLimits | None = None,
        probe: Probe | None = None,
        on_status: StatusHook | None = None,
        random: Callable[[], float] = _random,
    ) -> None:
        self._backend = backend
        self._verify = verify
        self._probe = probe or Probe()
        self._on_status = on_status
        self._machine = Machine(limits or PoolLimits(), random)
        self._keepers: dict[Endpoint, Keeper] = {}
        self._places: dict[Waiter, asyncio.Future[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._quiet = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Pool {self._machine!r}>"

    @property
    def machine(self) -> Machine:
        """The state, to look at."""
        return self._machine

    @property
    def is_ready(self) -> bool:
        """Whether a verified enclave takes requests."""
        return any(e.state is EndpointState.READY for e in self._machine.endpoints)

    @property
    def threads(self) -> int:
        """Threads of the ready enclaves."""
        return sum(keeper.status.threads for keeper in self.keepers() if keeper.status)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever an enclave reports its status, or is lost."""
        self._watchers.append(changed)

    def would_refuse(
        self, expires: float, key_id: int | None = None, *, ahead: int = 0
    ) -> PoolRefused | None:
        """What a request would be told that came now; None if it would be taken.

        To be asked before a body is received that nobody would look at.

        Args:
            expires: Until when an answer is of use, on the event loop's clock.
            key_id: The OHTTP key that the enclave must hold.
            ahead: Requests that came before, and will come here before this one.
        """
        return self._machine.refusal(Waiter(expires, key_id), _now(), ahead=ahead)

    def keepers(self) -> list[Keeper]:
        """Those who look after the enclaves that are ready now."""
        return [k for e, k in self._keepers.items() if e.state is EndpointState.READY]

    def set_addresses(self, addresses: Iterable[Address]) -> None:
        """Say which enclaves there are: new ones join, missing ones drain and leave."""
        wanted = list(dict.fromkeys(addresses))
        known = {e.address: e for e in self._machine.endpoints if not e.leaving}
        for address in wanted:
            if address not in known:
                self._join(address)
        for address, endpoint in known.items():
            if address not in wanted:
                _log.info("enclave leaves", extra={"enclave": str(address)})
                self._machine.leave(endpoint)
                self._keepers.pop(endpoint).stop()
        self._settle()

    async def look(self, address: Address) -> None:
        """Ask an enclave for its status and keys now, and wait for the answer."""
        for keeper in self.keepers():
            if keeper.address == address:
                await keeper.look()

    async def stop(self, grace: float = 0.0) -> None:
        """Finish what is under way for at most `grace` seconds, then close everything."""
        self._stopping = True
        for waiter in list(self._places):
            self._give_up(waiter, PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1))
        self._quiet.clear()
        if any(e.outstanding for e in self._machine.endpoints):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._quiet.wait()
        for endpoint in list(self._machine.endpoints):
            self._machine.leave(endpoint, at_once=True)
        keepers = [keeper.stop() for keeper in self._keepers.values()]
        self._keepers.clear()
        self._settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*keepers, *self._tasks, return_exceptions=True)

    async def request(
        self,
        operation: Operation,
        body: Chunks = (),
        *,
        expires: float,
        params: Params | None = None,
        key_id: int | None = None,
        request_id: bytes | None = None,
        timeline: Timeline | None = None,
        caller: bytes | None = None,
    ) -> EnclaveAnswer:
        """Have an enclave do something.

        Cancelling this gives up the place in the queue, or closes the connection, which
        cancels the work in the enclave.

        Args:
            operation: What to do.
            body: The request's body, in pieces.
            expires: Until when an answer is of use, on the event loop's clock.
            params: The operation's parameters.
            key_id: The OHTTP key that the enclave must hold.
            request_id: 16 bytes; random if left out.
            timeline: Where to note how long it took.
            caller: An opaque tag of the client that asks (docs/link.md §3).

        Returns:
            The answer, whatever its outcome; never `draining`.

        Raises:
            PoolRefused: No enclave answered.
            HeaderTooLarge: The parameters do not fit into a header of the link.
        """
        if self._stopping:
            raise PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1)
        request_id = request_id or secrets.token_bytes(REQUEST_ID_BYTES)
        timeline = timeline or Timeline()
        waiter = Waiter(expires, key_id, caller=caller)
        now = _now()
        at_once = self._machine.serve_at_once(waiter, now)
        if at_once is None:
            self._machine.submit(waiter, now)
        while True:
            with timeline.stage(Stage.QUEUE):
                connection = at_once or await self._place(waiter)
            at_once = None
            endpoint = connection.endpoint
            header = RequestHeader(
                operation,
                request_id,
                min(max(int((expires - _now()) * 1000), 0), MAX_DEADLINE_MS),
                sum(map(len, body)),
                params or {},
                caller,
            )
            with timeline.stage(Stage.EXCHANGE) as passage:
                passage.operation, passage.enclave = operation.value, str(endpoint.address)
                try:
                    exchange = await self._exchange(connection, header, body, expires)
                except HeaderTooLarge:
                    passage.outcome = Outcome.INVALID_REQUEST.value
                    raise
                except PoolRefused as refused:
                    late = refused.problem is problems.DEADLINE_EXCEEDED
                    passage.outcome = refused.problem.slug if late else LOST
                    raise
                except asyncio.CancelledError:
                    passage.outcome = CANCELLED
                    raise
                passage.outcome = exchange.header.outcome.value if exchange else LOST
            if exchange is not None:
                outcome = exchange.header.outcome
                if outcome is Outcome.DRAINING:
                    self._machine.drain(endpoint)
                elif outcome is not Outcome.OVERLOADED or not self._has_other(waiter, endpoint):
                    return EnclaveAnswer(
                        outcome, exchange.body, endpoint.address, exchange.header.params
                    )
            # Nothing was acted upon: another enclave may have it.
            self._machine.retry(waiter, endpoint)

    def _has_other(self, waiter: Waiter, but: Endpoint) -> bool:
        return any(
            e is not but and e not in waiter.avoid and e.state is EndpointState.READY
            for e in self._machine.endpoints
        )

    # Requests

    async def _place(self, waiter: Waiter) -> Connection:
        """Wait for a connection; whoever gets it must release it."""
        loop = asyncio.get_running_loop()
        place: asyncio.Future[Connection] = loop.create_future()
        self._places[waiter] = place
        self._settle()
        late = PoolRefused(problems.DEADLINE_EXCEEDED)
        alarm = loop.call_at(waiter.expires, self._give_up, waiter, late)
        try:
            return await place
        except BaseException:
            self._machine.cancel(waiter)
            if place.done() and not place.cancelled() and place.exception() is None:
                # It was given in the same turn of the loop in which this was cancelled.
                self._release(place.result(), reusable=True, healthy=None)
            raise
        finally:
            alarm.cancel()
            del self._places[waiter]

    def _give_up(self, waiter: Waiter, why: PoolRefused) -> None:
        """Take a request that still waits out of the queue."""
        place = self._places[waiter]
        if not place.done():
            self._machine.cancel(waiter)
            place.set_exception(why)

    async def _exchange(
        self, connection: Connection, header: RequestHeader, body: Chunks, expires: float
    ) -> Exchange | None:
        """Use a connection and release it.

        Returns:
            The answer, or None if no byte of the request left this process.

        Raises:
            PoolRefused: It is too late, or the enclave went away with the request.
            HeaderTooLarge: The parameters do not fit; the connection is as it was.
        """
        stream = connection.stream
        if stream is None:
            raise RuntimeError("a connection without a stream was given to a request")
        exchange: Exchange | None = None
        healthy: bool | None = None
        unused = False
        try:
            async with asyncio.timeout_at(expires + _DEADLINE_GRACE):
                exchange = await stream.exchange(header, body)
            healthy = True
        except TimeoutError:
            # Says nothing of the enclave's health: the client chose the deadline, and a frozen
            # enclave is for its keeper to find.
            raise PoolRefused(problems.DEADLINE_EXCEEDED) from None
        except HeaderTooLarge:
            # The client's choice: it says nothing of the enclave, and nothing was sent.
            unused = True
            raise
        except StreamLost as error:
            if error.untouched:
                return None
            healthy = False
            # The caller may have caused it: the monitor's own connection tells.
            if (keeper := self._keepers.get(connection.endpoint)) is not None:
                keeper.check()
            raise PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1) from error
        finally:
            reusable = unused or (exchange is not None and exchange.reusable)
            worked = exchange is not None and exchange.header.outcome not in _NO_WORK
            self._release(connection, reusable=reusable, healthy=healthy, worked=worked)
        return exchange

    def _release(
        self,
        connection: Connection,
        *,
        reusable: bool,
        healthy: bool | None,
        worked: bool = False,
    ) -> None:
        self._machine.released(
            connection, _now(), reusable=reusable, healthy=healthy, worked=worked
        )
        if connection.state is ConnectionState.CLOSED and connection.stream is not None:
            # Not reusable, or its enclave takes nothing new.
            connection.stream.close()
        self._settle()
        if self._stopping and not any(e.outstanding for e in self._machine.endpoints):
            self._quiet.set()

    # What the machine wants done

    def _settle(self) -> None:
        """Let the machine move, and do what it says, until nothing moves any more."""
        while self._carry_out(self._machine.assign(_now())):
            pass

    def _carry_out(self, plan: Plan) -> bool:
        again = False
        for connection in plan.close:
            if connection.stream is not None:
                connection.stream.close()
        for waiter, refusal in plan.refuse:
            place = self._places.get(waiter)
            if place is not None and not place.done():
                place.set_exception(refusal)
        for waiter, connection in plan.give:
            place = self._places.get(waiter)
            if place is not None and not place.done():
                place.set_result(connection)
            else:
                # The client left, but its task has not run since.
                self._machine.released(connection, _now(), reusable=True, healthy=None)
                again = True
        for connection in plan.open:
            self._start(self._open(connection))
        return again

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, connection: Connection) -> None:
        """Dial and verify one connection for traffic."""
        endpoint = connection.endpoint
        stream: Stream | None = None
        try:
            stream = await self._backend.open(endpoint.address, partial(self._ended, connection))
            await attest(stream, self._verify, self._probe.patience)
            connection.stream = stream
            if connection.state is ConnectionState.CLOSED:
                stream.close()
            self._machine.opened(connection, _now())
        except (DialError, StreamLost, EnclaveRefused) as error:
            self._give_up_opening(connection, stream)
            if (keeper := self._keepers.get(endpoint)) is None:
                return
            if isinstance(error, EnclaveRefused):
                # Another enclave may be there now: this one is to prove itself again.
                keeper.trouble(str(error))
            else:
                # Clients that leave can keep all of its connections occupied for a while.
                keeper.check()
        except BaseException as error:
            self._give_up_opening(connection, stream)
            if not isinstance(error, Exception):
                raise
            _log.exception(
                "opening a connection failed unexpectedly",
                extra={"enclave": str(endpoint.address)},
            )
        else:
            self._settle()

    def _give_up_opening(self, connection: Connection, stream: Stream | None) -> None:
        if stream is not None:
            stream.close()
        self._machine.failed(connection, _now())
        self._settle()

    def _ended(self, connection: Connection) -> None:
        """The other side closed a connection; one under way raises in its exchange."""
        if connection.state is ConnectionState.IDLE:
            self._machine.failed(connection, _now())
            self._settle()

    # What keepers report

    def _join(self, address: Address) -> None:
        endpoint = self._machine.join(address)
        self._keepers[endpoint] = Keeper(
            address,
            self._backend,
            self._verify,
            self._probe,
            _Reports(self, endpoint),
            self._on_status,
            partial(self._key_ids_beside, endpoint),
        )

    def _key_ids_beside(self, endpoint: Endpoint) -> bytes:
        """The key ids of all enclaves but one."""
        others = (keeper for held, keeper in self._keepers.items() if held is not endpoint)
        return b"".join(keeper.status.key_ids for keeper in others if keeper.status)

    def verifying(self, endpoint: Endpoint) -> None:
        """An enclave's keeper dials it."""
        self._machine.verifying(endpoint)

    def reported(self, endpoint: Endpoint, status: Status) -> None:
        """An enclave's keeper has its status."""
        if status.draining or not status.ready:
            self._machine.drain(endpoint)
        else:
            if endpoint.state is not EndpointState.READY:
                _log.info("enclave is ready", extra={"enclave": str(endpoint.address)})
            self._machine.ready(
                endpoint,
                connections=max(_LEAST_CONNECTIONS, _CONNECTIONS_A_THREAD * status.threads),
                busy_at=_CONNECTIONS_A_THREAD * status.threads,
                key_ids=status.key_ids,
            )
        self._changed()

    def lost(self, endpoint: Endpoint, reason: str) -> float:
        """An enclave's keeper lost it, or it does not pass."""
        now = _now()
        pause = self._machine.lost(endpoint, now) - now
        _log.warning(
            "enclave is out",
            extra={"enclave": str(endpoint.address), "reason": reason, "pause": round(pause, 2)},
        )
        self._changed()
        return pause

    def _changed(self) -> None:
        self._settle()
        for changed in self._watchers:
            try:
                changed()
            except Exception:  # noqa: BLE001 - whatever it is, it must not end the monitor
                _log.exception("a watcher of the pool failed")


class _Reports:
    """A keeper's way to the pool."""

    def __init__(self, pool: Pool, endpoint: Endpoint) -> None:
        self.verifying = partial(pool.verifying, endpoint)
        self.reported = partial(pool.reported, endpoint)
        self.lost = partial(pool.lost, endpoint)


def _now() -> float:
    return asyncio.get_running_loop().time()
