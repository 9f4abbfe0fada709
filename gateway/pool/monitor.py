"""One task an enclave: dials it, has it prove itself, and keeps asking how it is.

It has a connection of its own, so that an enclave with every connection busy still answers,
and one that is frozen is noticed within a probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blindgate.link import DialError, FrameError, Operation
from gateway.pool.errors import EnclaveRefused, StreamLost
from gateway.pool.status import Status
from gateway.pool.verification import Verified, Verify, attest, call

if TYPE_CHECKING:
    from blindgate.link import Address
    from gateway.pool.backend import Backend, Stream

_log = logging.getLogger(__name__)

#: Pushes the body of a `credentials` request to one enclave.
Push = Callable[[bytes], Awaitable[None]]
#: Told each status of each verified enclave.
StatusHook = Callable[["Address", Status, Push], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Probe:
    """How enclaves are watched.

    Attributes:
        period: Seconds between two questions for the status.
        patience: Seconds that any answer of this kind may take.
    """

    period: float = 2.0
    patience: float = 5.0


class Events(Protocol):
    """What a keeper reports; the pool does the rest."""

    def verifying(self) -> None:
        """The enclave is being dialled."""
        ...

    def reported(self, status: Status) -> None:
        """A verified enclave says how it is."""
        ...

    def lost(self, reason: str) -> float:
        """It is gone, or does not pass; returns the seconds to leave it alone for."""
        ...


class Keeper:
    """Looks after one enclave until `stop`.

    Attributes:
        address: Where the enclave listens.
        status: What it last said, None while it is not verified.
        verified: What its document proved, None while it is not verified.
        keys: Its `application/ohttp-keys`, empty while it is not verified.

    Args:
        address: Where the enclave listens.
        backend: Opens connections.
        verify: Checks attestation documents.
        probe: How it is watched.
        events: Where to report.
        on_status: Told each status.
        taken: Gives the key ids of all other enclaves.
    """

    def __init__(
        self,
        address: Address,
        backend: Backend,
        verify: Verify,
        probe: Probe,
        events: Events,
        on_status: StatusHook | None,
        taken: Callable[[], bytes] = bytes,
    ) -> None:
        self.address = address
        self.status: Status | None = None
        self.verified: Verified | None = None
        self.keys = b""
        self._backend = backend
        self._verify = verify
        self._probe = probe
        self._events = events
        self._on_status = on_status
        self._taken = taken
        self._stream: Stream | None = None
        self._wake = asyncio.Event()
        # Who waits for a probe that has not begun yet.
        self._lookers: list[asyncio.Future[None]] = []
        self._trouble: str | None = None
        self._task = asyncio.create_task(self._run(), name=f"keeper of {address}")

    def __repr__(self) -> str:
        return f"<Keeper of {self.address}, {'verified' if self.verified else 'not verified'}>"

    def stop(self) -> asyncio.Task[None]:
        """Stop looking; the task that ends is returned to be awaited."""
        self._task.cancel()
        return self._task

    def trouble(self, reason: str) -> None:
        """Something else saw that this enclave is not what it was: verify it anew."""
        self._trouble = reason
        self._wake.set()

    def check(self) -> None:
        """Something may be wrong with this enclave: ask for its status now."""
        self._wake.set()

    async def look(self) -> None:
        """Ask for the status now instead of at the end of the period; wait until it is there."""
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lookers.append(seen)
        self._wake.set()
        await seen

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._watch()
                except (DialError, FrameError, StreamLost, EnclaveRefused) as error:
                    reason = str(error)
                except Exception as error:  # noqa: BLE001 - whatever it is, the enclave is out
                    # An enclave that nobody watches must not stay in service.
                    _log.exception(
                        "the monitor of an enclave failed", extra={"enclave": str(self.address)}
                    )
                    reason = f"its monitor failed with {type(error).__name__}"
                self._forget()
                await asyncio.sleep(self._events.lost(reason))
        finally:
            self._forget()

    def _forget(self) -> None:
        self._answer_lookers(len(self._lookers))
        self.status = self.verified = None
        self.keys = b""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _watch(self) -> None:
        """Verify, then probe until something fails."""
        self._trouble = None
        self._wake.clear()
        self._events.verifying()
        self._stream = await self._backend.open(
            self.address, lambda: self.trouble("the connection to the enclave ended")
        )
        patience = self._probe.patience
        self.verified = await attest(self._stream, self._verify, patience)
        while True:
            asked = len(self._lookers)
            answer = await call(self._stream, Operation.STATUS, patience)
            status = Status.from_cbor(answer.body)
            known = self.status.key_ids if self.status else None
            # Said before anything is awaited: of two that join at once, the second sees the first.
            self.status = status
            if status.key_ids != known:
                self.status = status = await self._read_keys(self._stream, status)
            self._events.reported(status)
            await self._hand_on(status)
            self._answer_lookers(asked)
            if self._trouble is None:
                await self._until_next_probe()
            self._wake.clear()
            if self._trouble is not None:
                raise StreamLost(self._trouble)

    async def _read_keys(self, stream: Stream, status: Status) -> Status:
        """Read the keys; an enclave whose key ids another one has is asked to make others."""
        patience = self._probe.patience
        taken = self._taken()
        collide = not set(status.key_ids).isdisjoint(taken)
        params = {"taken": taken} if collide else {}
        self.keys = bytes((await call(stream, Operation.KEYS, patience, params=params)).body)
        if not collide:
            return status
        _log.info("key ids collided", extra={"enclave": str(self.address)})
        return Status.from_cbor((await call(stream, Operation.STATUS, patience)).body)

    async def _hand_on(self, status: Status) -> None:
        """Tell the hook; that an enclave refuses what it pushes is no reason to leave it."""
        if self._on_status is None:
            return
        try:
            await self._on_status(self.address, status, self._push)
        except EnclaveRefused as error:
            _log.warning(
                "a push was refused", extra={"enclave": str(self.address), "reason": str(error)}
            )

    def _answer_lookers(self, count: int) -> None:
        for looker in self._lookers[:count]:
            if not looker.done():
                looker.set_result(None)
        del self._lookers[:count]

    async def _until_next_probe(self) -> None:
        try:
            async with asyncio.timeout(self._probe.period):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _push(self, body: bytes) -> None:
        if self._stream is None:
            raise StreamLost("the enclave is not connected")
        patience = self._probe.patience
        await call(self._stream, Operation.CREDENTIALS, patience, body=(body,))
