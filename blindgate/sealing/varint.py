"""Variable-length integers as QUIC writes them (RFC 9000 §16), and a bounded reader."""

from __future__ import annotations

from typing import Final

from blindgate.sealing.errors import BinaryHttpError

#: The largest value that eight bytes with a two-bit length can hold.
MAX_VALUE: Final = (1 << 62) - 1

_ONE_BYTE: Final = tuple(bytes([value]) for value in range(1 << 6))


def encode(value: int) -> bytes:
    """The shortest encoding of `value`.

    Raises:
        ValueError: The value is negative or over 2^62 - 1.
    """
    if 0 <= value < 1 << 6:
        return _ONE_BYTE[value]
    if value < 0 or value > MAX_VALUE:
        raise ValueError("a variable-length integer holds 0 to 2^62 - 1")
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    return (value | 3 << 62).to_bytes(8, "big")


class Reader:
    """Walks over a message without copying it; every read is checked against its end."""

    __slots__ = ("_at", "_end", "_view")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self._at = 0
        self._end = len(self._view)

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return self._end - self._at

    def integer(self) -> int:
        """The next integer; longer encodings than needed are allowed (RFC 9000 §16).

        Raises:
            BinaryHttpError: The message ends inside it.
        """
        at = self._at
        if at == self._end:
            raise BinaryHttpError("the message ends where an integer should be")
        first = self._view[at]
        if first < 0x40:
            self._at = at + 1
            return first
        length = 1 << (first >> 6)
        raw = self.take(length, limit=8)
        return int.from_bytes(raw, "big") & ((1 << (8 * length - 2)) - 1)

    def take(self, length: int, *, limit: int) -> memoryview:
        """The next `length` bytes as a view.

        Raises:
            BinaryHttpError: That is more than `limit` or than what is left.
        """
        if length > limit:
            raise BinaryHttpError(f"a part of the message is over its limit of {limit} bytes")
        start = self._at
        end = start + length
        if end > self._end:
            raise BinaryHttpError("the message ends inside a part")
        self._at = end
        return self._view[start:end]

    def prefixed(self, *, limit: int) -> memoryview:
        """An integer, then that many bytes."""
        return self.take(self.integer(), limit=limit)

    def rest(self) -> memoryview:
        """All that is left."""
        start, self._at = self._at, self._end
        return self._view[start:]
