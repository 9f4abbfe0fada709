"""Variable-length integers as QUIC writes them (RFC 9000 §16), and a bounded reader."""

from __future__ import annotations

from typing import Final

from blindgate.sealing.errors import BinaryHttpError

#: The largest value that eight bytes with a two-bit length can hold.
MAX_VALUE: Final = (1 << 62) - 1


def encode(value: int) -> bytes:
    """The shortest encoding of `value`.

    Raises:
        ValueError: The value is negative or over 2^62 - 1.
    """
    if value < 0 or value > MAX_VALUE:
        raise ValueError("a variable-length integer holds 0 to 2^62 - 1")
    for exponent, length in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * length - 2):
            return (value | exponent << (8 * length - 2)).to_bytes(length, "big")
    raise AssertionError("unreachable: the range was checked")


class Reader:
    """Walks over a message without copying it; every read is checked against its end."""

    __slots__ = ("_at", "_view")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._view) - self._at

    def integer(self) -> int:
        """The next integer; longer encodings than needed are allowed (RFC 9000 §16).

        Raises:
            BinaryHttpError: The message ends inside it.
        """
        if not self.left:
            raise BinaryHttpError("the message ends where an integer should be")
        first = self._view[self._at]
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
        if length > self.left:
            raise BinaryHttpError("the message ends inside a part")
        start, self._at = self._at, self._at + length
        return self._view[start : self._at]

    def prefixed(self, *, limit: int) -> memoryview:
        """An integer, then that many bytes."""
        return self.take(self.integer(), limit=limit)

    def rest(self) -> memoryview:
        """All that is left."""
        start, self._at = self._at, len(self._view)
        return self._view[start:]
