"""Read the structure of a WebP file in one pass, without decoding.

The decoder is given a new, minimal file: the image data, its alpha channel, and of an animation
the first frame. Metadata, unknown chunks, further frames and what follows the file are dropped.

Source: RFC 9649.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.orientation import MAX_EXIF_BYTES, read_orientation

#: A file has some ten chunks, and an animation one for each frame. What follows the image data is
#: read up to this number of chunks, and then ignored.
MAX_CHUNKS: Final = 20_000
_ANIMATION, _ALPHA = 0x02, 0x10
#: ANMF's own fields before the chunks of its frame, section 2.7.1.1.
_FRAME_FIELDS: Final = 16

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class WebPHeader:
    """A WebP file's structure.

    Attributes:
        width: As stored, in pixels, before the EXIF orientation.
        height: The same.
        orientation: The EXIF orientation, 1 to 8.
        pieces: A minimal WebP file that decodes to the same pixels.
    """

    width: int
    height: int
    orientation: int
    pieces: tuple[Buffer, ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    content: memoryview

    @property
    def pieces(self) -> tuple[Buffer, ...]:
        return (
            self.kind + struct.pack("<I", len(self.content)),
            self.content,
            b"\0" * (len(self.content) % 2),
        )


def read_webp(data: Buffer) -> WebPHeader:
    """Read a WebP file.

    Raises:
        ImageRejected: It is damaged, truncated, or has too many chunks.
        struct.error: It is truncated.
        IndexError: The same.
    """
    view = memoryview(data)
    (size,) = struct.unpack_from("<I", view, 4)
    view = view[12 : 8 + size]
    first = next(_chunks(view), None)
    if first is None:
        raise ImageRejected("no image data")
    if first.kind == b"VP8X":
        return _extended(first.content, view)
    return _still(None, first, b"")


def _extended(features: memoryview, view: memoryview) -> WebPHeader:
    animated = bool(features[0] & _ANIMATION)
    alpha: _Chunk | None = None
    image: _Chunk | None = None
    exif: bytes | None = None
    for count, chunk in enumerate(_chunks(view)):
        if count >= MAX_CHUNKS:
            if image is None:
                raise ImageRejected("too many chunks")
            break
        if chunk.kind == b"EXIF" and exif is None:
            exif = bytes(chunk.content[:MAX_EXIF_BYTES])
        elif image is None:
            if chunk.kind == b"ALPH" and not animated and alpha is None:
                alpha = chunk
            elif chunk.kind in ((b"ANMF",) if animated else (b"VP8 ", b"VP8L")):
                image = chunk
    if image is None:
        raise ImageRejected("no image data")
    if animated:
        width, height = (1 + _uint24(features, at) for at in (4, 7))
        return _animation((width, height), image, exif or b"")
    return _still(alpha, image, exif or b"")


def _still(alpha: _Chunk | None, image: _Chunk, exif: bytes) -> WebPHeader:
    width, height = _size(image)
    chunks = [image]
    if alpha is not None and image.kind == b"VP8 ":
        chunks = [_canvas(_ALPHA, width, height), alpha, image]
    return WebPHeader(width, height, read_orientation(exif), _file(chunks))


def _animation(size: tuple[int, int], frame: _Chunk, exif: bytes) -> WebPHeader:
    width, height = size
    left, top, across, down = (_uint24(frame.content, at) for at in (0, 3, 6, 9))
    if 2 * left + across + 1 > width or 2 * top + down + 1 > height:
        raise ImageRejected("a frame lies outside of its canvas")
    # what a frame does not cover is transparent
    chunks = [
        _canvas(_ANIMATION | _ALPHA, width, height),
        _Chunk(b"ANIM", memoryview(bytes(6))),
        _frame_alone(frame, (across + 1, down + 1)),
    ]
    return WebPHeader(width, height, read_orientation(exif), _file(chunks))


def _frame_alone(frame: _Chunk, size: tuple[int, int]) -> _Chunk:
    """A frame without chunks that are not its image."""
    kept: list[_Chunk] = []
    for count, chunk in enumerate(_chunks(frame.content[_FRAME_FIELDS:])):
        if count >= MAX_CHUNKS:
            break
        if chunk.kind in (b"VP8 ", b"VP8L"):
            if _size(chunk) != size:
                raise ImageRejected("a frame is not as large as it says")
            parts = [each for found in (*kept, chunk) for each in found.pieces]
            return _Chunk(b"ANMF", memoryview(b"".join([frame.content[:_FRAME_FIELDS], *parts])))
        if chunk.kind == b"ALPH" and not kept:
            kept.append(chunk)
    raise ImageRejected("a frame without image data")


def _chunks(view: memoryview) -> Iterator[_Chunk]:
    """The chunks of a part of the file, as far as they are complete."""
    at = 0
    while at + 8 <= len(view):
        kind, size = struct.unpack_from("<4sI", view, at)
        if at + 8 + size > len(view):
            return
        yield _Chunk(kind, view[at + 8 : at + 8 + size])
        at += 8 + size + size % 2


def _size(image: _Chunk) -> tuple[int, int]:
    """Width and height from the header of the image data."""
    data = image.content
    if image.kind == b"VP8 ":
        if bytes(data[3:6]) != b"\x9d\x01\x2a" or data[0] & 1:
            raise ImageRejected("no key frame")
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
        return width, height
    if image.kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 1)
        if data[0] != 0x2F:
            raise ImageRejected("no VP8L signature")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ImageRejected("an unknown first chunk")


def _canvas(flags: int, width: int, height: int) -> _Chunk:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return _Chunk(b"VP8X", memoryview(struct.pack("<I", flags) + sides))


def _file(chunks: list[_Chunk]) -> tuple[Buffer, ...]:
    pieces = [piece for chunk in chunks for piece in chunk.pieces]
    size = 4 + sum(len(piece) for piece in pieces)
    return (b"RIFF" + struct.pack("<I", size) + b"WEBP", *pieces)


def _uint24(data: memoryview, at: int) -> int:
    _ = data[at + 2]
    return int.from_bytes(data[at : at + 3], "little")
