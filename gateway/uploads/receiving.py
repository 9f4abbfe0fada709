"""Takes one body off the wire, within limits of size, rate and memory.

Nothing is parsed or joined here, and no enclave is involved yet: a slow client costs the bytes
that it has sent and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindgate import problems
from blindgate.errors import BlindgateError
from gateway.problem_answers import Refused
from gateway.timeline import Stage, Timeline

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

    from gateway.uploads.budget import ByteBudget


class ClientGone(BlindgateError):
    """The client closed its connection; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one body may take; the reasons stand in `gateway.settings`.

    Attributes:
        max_body: Bytes.
        timeout: Seconds in total.
        min_rate: Bytes a second after the grace.
        grace: Seconds without a minimum rate.
    """

    max_body: int
    timeout: float
    min_rate: int
    grace: float

    def allowance(self, received: int) -> float:
        """Seconds from the start by which more than `received` bytes must be there."""
        if not self.min_rate:
            return self.timeout
        return min(self.timeout, self.grace + received / self.min_rate)


@asynccontextmanager
async def receive_body(
    request: Request, limits: UploadLimits, budget: ByteBudget
) -> AsyncIterator[list[bytes]]:
    """Receive a whole body; its place in the budget is given back at the end of the block.

    Yields:
        The body in the pieces that it came in; at least one byte.

    Raises:
        Refused: Empty, over a limit, too slow, or cut off.
        ClientGone: The client closed the connection.
    """
    declared = _declared_length(request)
    if declared is not None and declared > limits.max_body:
        raise _too_large(limits)
    held = declared or 0
    # Refused before the first byte is read: a client that sends `Expect: 100-continue` keeps
    # its upload, and the others are spared most of it.
    if not budget.take(held):
        raise _no_memory()
    chunks: list[bytes] = []
    timeline: Timeline = request.state.timeline
    size = 0
    try:
        started = asyncio.get_running_loop().time()
        try:
            ends = started + limits.allowance(0)
            with timeline.stage(Stage.UPLOAD):
                async with asyncio.timeout_at(ends) as patience:
                    async for chunk in _chunks(request.receive):
                        size += len(chunk)
                        if size > limits.max_body:
                            raise _too_large(limits)
                        if size > held:
                            if not budget.take(size - held):
                                raise _no_memory()
                            held = size
                        chunks.append(chunk)
                        patience.reschedule(started + limits.allowance(size))
        except TimeoutError:
            raise Refused(problems.UPLOAD_TIMEOUT, headers={"connection": "close"}) from None
        if not size:
            raise Refused(problems.EMPTY_BODY)
        yield chunks
    finally:
        chunks.clear()
        budget.give_back(held)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body's pieces, straight from the server."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection")
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


def _declared_length(request: Request) -> int | None:
    text = request.headers.get("content-length")
    # The server's parser has refused everything that is no number.
    return int(text) if text is not None and text.isdecimal() else None


def _too_large(limits: UploadLimits) -> Refused:
    return Refused(problems.BODY_TOO_LARGE, rest_unread=True, limit=limits.max_body)


def _no_memory() -> Refused:
    return Refused(problems.OVERLOADED, rest_unread=True)
