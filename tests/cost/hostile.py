"""Inputs of any size that cost a careless parser many times their size."""

from __future__ import annotations

from collections.abc import Callable

Make = Callable[[int], bytes]


def repeated(head: bytes, piece: bytes, tail: bytes) -> Make:
    """A head, one piece as often as it fits, and a tail."""
    return lambda size: head + piece * max(1, (size - len(head) - len(tail)) // len(piece)) + tail


def members(head: bytes, tail: bytes) -> Make:
    """JSON members with names of their own and the shortest value: `"0":0,"1":0,…`."""

    def make(size: int) -> bytes:
        parts: list[bytes] = []
        length = len(head) + len(tail)
        while length < size:
            parts.append(b'"%x":0' % len(parts))
            length += len(parts[-1]) + 1
        return head + b",".join(parts) + tail

    return make


def nested(opening: bytes, closing: bytes) -> Make:
    """Openings and as many closings."""

    def make(size: int) -> bytes:
        depth = max(1, size // (len(opening) + len(closing)))
        return opening * depth + closing * depth

    return make
