"""Memory that the bodies of requests are received into, one request after the other.

What served a request before is there already: new memory is zeroed first and found in no cache,
which for a photo of 3 MB costs more than receiving it. Sealed bodies and Encryption SDK messages
are opened in their own memory, so that each is in memory once.
"""

from __future__ import annotations

import threading
from typing import Final

#: Sizes come in eighths of a power of two: at most one part in eight of a piece is not used.
_STEPS: Final = 8
#: Nothing smaller than this is worth a size of its own.
_SMALLEST: Final = 4096


class Lease:
    """Memory for one body, until `end`.

    Attributes:
        view: Exactly as many bytes as were asked for, with whatever was in them before.
    """

    __slots__ = ("_memory", "_piece", "view")

    def __init__(self, memory: BodyMemory, piece: bytearray, count: int) -> None:
        self._memory = memory
        self._piece: bytearray | None = piece
        self.view = memoryview(piece)[:count]

    def end(self) -> None:
        """Give the memory back; the second time nothing happens."""
        piece, self._piece = self._piece, None
        if piece is not None:
            try:
                self.view.release()
                # A bytearray that somebody looks at cannot change its length. Who still holds a
                # view after the end keeps the memory to himself: no other body ever comes there.
                piece.append(piece.pop())
            except BufferError:
                return
            self._memory.give_back(piece)


class BodyMemory:
    """Pieces of memory that are free. Safe to use from several threads.

    Args:
        kept: Bytes of free pieces that are kept at most; the others go back to the system.
    """

    def __init__(self, kept: int) -> None:
        self._most = kept
        self._kept = 0
        self._free: dict[int, list[bytearray]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<BodyMemory {self._kept} of {self._most} bytes free>"

    def lease(self, count: int) -> Lease:
        """Memory for a body of `count` bytes."""
        size = _size(count)
        with self._lock:
            free = self._free.get(size)
            piece = free.pop() if free else None  # the last one used is the warmest
            if piece is not None:
                self._kept -= size
        return Lease(self, bytearray(size) if piece is None else piece, count)

    def give_back(self, piece: bytearray) -> None:
        """Nobody looks at this piece any more."""
        with self._lock:
            if self._kept + len(piece) <= self._most:
                self._kept += len(piece)
                self._free.setdefault(len(piece), []).append(piece)


def _size(count: int) -> int:
    """The size of the piece that a body goes into."""
    if count <= _SMALLEST:
        return _SMALLEST
    step = (1 << (count - 1).bit_length()) // (2 * _STEPS)
    return -(-count // step) * step
