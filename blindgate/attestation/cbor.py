"""A reader for the subset of CBOR (RFC 8949) that attestation documents consist of.

Unsigned integers, byte and text strings, arrays, maps, null, true and false; indefinite lengths
included, because the NSM has written its payload so since 2025. Everything else is refused.
It exists because a general library resolves tags by itself (a date, a big number or a shared
reference would be read as the plain value that another reader does not see), and because the
rules of the document (tag, duplicate key, trailing bytes) each deserve their own error.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from blindgate.attestation.errors import (
    DuplicateKey,
    MalformedCbor,
    TrailingBytes,
    UnexpectedTag,
)

#: What `decode` returns. A map's keys are text or unsigned integers, which all documents keep to.
Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int | str, Value] | None"

#: A document nests three deep: map, then pcrs or cabundle, then value.
MAX_DEPTH: Final = 8

_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF
_SIMPLE: Final[dict[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}


def decode(data: bytes) -> Value:
    """Decode one item that fills `data` completely.

    Raises:
        MalformedCbor: Truncated, too deep, or a kind of item outside the subset.
        UnexpectedTag: There is a tag.
        DuplicateKey: A map has a key twice.
        TrailingBytes: Bytes are left over.
    """
    reader = _Reader(data)
    value = reader.item(0)
    if reader.at != len(data):
        raise TrailingBytes(f"{len(data) - reader.at} bytes follow the CBOR item")
    return value


class _Reader:
    """A cursor over the input; memory taken is bounded by the input's own length."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise MalformedCbor(f"nested deeper than {MAX_DEPTH}")
        initial = self.byte()
        if initial in _SIMPLE:
            return _SIMPLE[initial]
        major, info = initial >> 5, initial & 0x1F
        if major == _TAG:
            raise UnexpectedTag("a CBOR tag inside the document")
        if major == _UINT and info != _INDEFINITE:
            return self.argument(info)
        if major in (_BYTES, _TEXT):
            raw = self.string(major, info)
            return raw if major == _BYTES else _text(raw)
        if major == _ARRAY:
            return self.array(info, depth)
        if major == _MAP:
            return self.map(info, depth)
        raise MalformedCbor(f"an item of an unexpected kind (initial byte {initial:#04x})")

    def array(self, info: int, depth: int) -> list[Value]:
        items: list[Value] = []
        if info == _INDEFINITE:
            while not self.at_break():
                items.append(self.item(depth + 1))
        else:
            # A count is not believed: an item takes at least a byte, so the input's end stops it.
            for _ in range(self.argument(info)):
                items.append(self.item(depth + 1))  # noqa: PERF401 (no list before its bytes)
        return items

    def map(self, info: int, depth: int) -> dict[int | str, Value]:
        pairs: dict[int | str, Value] = {}
        left = -1 if info == _INDEFINITE else self.argument(info)
        while not self.at_break() if left < 0 else left > 0:
            left -= left > 0
            key = self.item(depth + 1)
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise MalformedCbor("a map key that is neither text nor an unsigned integer")
            if key in pairs:
                raise DuplicateKey(f"the key {key!r:.40} is there twice")
            pairs[key] = self.item(depth + 1)
        return pairs

    def string(self, major: int, info: int) -> bytes:
        if info != _INDEFINITE:
            return self.take(self.argument(info))
        chunks: list[bytes] = []
        while not self.at_break():
            initial = self.byte()
            if initial >> 5 != major or initial & 0x1F == _INDEFINITE:
                raise MalformedCbor("a chunk of another kind inside a string")
            chunk = self.take(self.argument(initial & 0x1F))
            if major == _TEXT:
                _text(chunk)  # RFC 8949 §3.2.3: a character is not split between chunks
            chunks.append(chunk)
        return b"".join(chunks)

    def argument(self, info: int) -> int:
        if info < 24:  # RFC 8949 §3
            return info
        if info > 27:
            raise MalformedCbor("a reserved or misplaced length")
        return int.from_bytes(self.take(1 << (info - 24)))

    def at_break(self) -> bool:
        if self.at < len(self.data) and self.data[self.at] == _BREAK:
            self.at += 1
            return True
        return False

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise MalformedCbor("the CBOR ends too early")
        part = self.data[self.at : end]
        self.at = end
        return part


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedCbor("a text string that is not UTF-8") from None
