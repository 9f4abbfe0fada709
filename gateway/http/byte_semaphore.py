"""One number for the memory of all bodies together, and a line for who finds it spent."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Counts bytes that are held, up to a total; handed out in order of asking.

    Args:
        total: See the property.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __repr__(self) -> str:
        return f"<ByteBudget {self._held} of {self.total} bytes, {len(self._line)} waiting>"

    @property
    def total(self) -> int:
        """Bytes that may be held at once.

        It may be changed: more wakes those who wait, and what is held over it stays held.
        """
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._serve()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def take(self, count: int) -> bool:
        """Hold so many more bytes, if they still fit and nobody stands in line for them."""
        if self._line or self._held + count > self.total:
            return False
        self._held += count
        return True

    async def wait(self, count: int, seconds: float) -> bool:
        """Hold so many more bytes, once it is their turn; False if that takes too long.

        A large body is not passed by small ones for ever: first come, first served.
        """
        if self.take(count):
            return True
        if count > self.total:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (count, turn)
        self._line.append(place)
        try:
            await asyncio.wait([turn], timeout=seconds)
        except asyncio.CancelledError:
            if turn.done():
                self.give_back(count)
            raise
        finally:
            if not turn.done():
                self._line.remove(place)
                self._serve()  # it may have stood before somebody whose bytes fit
        return turn.done()

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self._held -= count
        self._serve()

    def _serve(self) -> None:
        while self._line and self._held + self._line[0][0] <= self.total:
            count, turn = self._line.popleft()
            self._held += count
            turn.set_result(None)
