"""Takes one body off the wire, within limits of size, rate and memory.

Nothing is parsed or joined here, and no enclave is involved yet: a slow client costs the bytes
that it has sent and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindgate import problems
from blindgate.errors import BlindgateError
from gateway.context import context_of
from gateway.http.problem_responses import Refused
from gateway.telemetry.timeline import Stage

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.http.byte_semaphore import ByteBudget


class ClientGone(BlindgateError):
    """The client closed its connection, so that no response can reach it."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one body may take; the reasons stand in `gateway.settings`.

    Attributes:
        max_body: Bytes.
        patience: Seconds to wait for memory, before the first byte is read.
        timeout: Seconds in total.
        min_rate: Bytes a second after the grace.
        grace: Seconds without a minimum rate.
    """

    max_body: int
    patience: float
    timeout: float
    min_rate: int
    grace: float

    def allowance(self, received: int) -> float:
        """Seconds from the start by which more than `received` bytes must be there."""
        if not self.min_rate:
            return self.timeout
        return min(self.timeout, self.grace + received / self.min_rate)


class IncomingBody:
    """Receives a whole body; its memory goes back to the budget with the end of the block.

    Args:
        request: Whose body.
        limits: What it may take.
        budget: What all bodies together may take.

    `async with` gives the body in the pieces that it came in; at least one byte. It raises
    `Refused` if it is empty, over a limit or too slow, and `ClientGone`.
    """

    def __init__(self, request: Request, limits: UploadLimits, budget: ByteBudget) -> None:
        self._request = request
        self._limits = limits
        self._budget = budget
        self._chunks: list[bytes] = []
        self._declared = _declared_length(request)
        self._size = 0
        self._held = 0

    async def __aenter__(self) -> list[bytes]:
        if self._declared is not None and self._declared > self._limits.max_body:
            raise _too_large(self._limits)
        timeline = context_of(self._request.scope).timeline
        try:
            with timeline.stage(Stage.UPLOAD):
                await self._wait_for_memory(self._declared or 0)
                await self._receive(asyncio.get_running_loop().time())
            if not self._size:
                raise Refused(problems.EMPTY_BODY)
        except BaseException:
            self._let_go()
            raise
        return self._chunks

    async def __aexit__(self, *_: object) -> None:
        self._let_go()

    async def _wait_for_memory(self, size: int) -> None:
        # Nothing is read before: a client that sends `Expect: 100-continue` keeps its upload, and
        # the others are held up by TCP after some of it.
        if not await self._budget.wait(size, self._limits.patience):
            raise _no_memory()
        self._held = size

    def _hold(self, size: int) -> None:
        if not self._budget.take(size - self._held):
            # It has memory already, and whoever waits with some for more may wait for ever.
            raise _no_memory()
        self._held = size

    def _let_go(self) -> None:
        self._chunks.clear()
        self._budget.give_back(self._held)
        self._held = 0

    async def _receive(self, started: float) -> None:
        try:
            async with asyncio.timeout_at(started + self._limits.allowance(0)) as patience:
                while await self._receive_piece():
                    patience.reschedule(started + self._limits.allowance(self._size))
        except TimeoutError:
            raise Refused(problems.UPLOAD_TIMEOUT, headers={"connection": "close"}) from None

    async def _receive_piece(self) -> bool:
        """Take what the server has received; False if that was the last of it."""
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection")
        if chunk := message.get("body", b""):
            self._size += len(chunk)
            if self._size > self._limits.max_body:
                raise _too_large(self._limits)
            if self._size > self._held:
                self._hold(self._size)
            self._chunks.append(chunk)
        more: bool = message.get("more_body", False)
        return more


def _declared_length(request: Request) -> int | None:
    text = request.headers.get("content-length")
    # The server's parser has refused everything that is no number.
    return int(text) if text is not None and text.isdecimal() else None


def _no_memory() -> Refused:
    return Refused(problems.OVERLOADED)


def _too_large(limits: UploadLimits) -> Refused:
    return Refused(problems.BODY_TOO_LARGE, limit=limits.max_body)
