"""Read the structure of a PNG file in one pass, without decoding.

The decoder is given the palette, the transparency and the image data, and nothing else: text,
colour profiles, and unknown or damaged ancillary chunks cannot reject an image or cost anything.
Damage to the image data is found by one of their two checksums: it is enough if that of the chunks
(CRC-32) or that of the pixels (Adler-32) is right, since the other one is then what is damaged.
Of an animation the first frame is read, which is not always the image in IDAT.

Source: W3C PNG third edition, sections 5 and 11 (chunks) and 4.9 (animations).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.orientation import MAX_EXIF_BYTES, read_orientation

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Writers cut the image data into pieces of 8 KB or more. What follows the image data is read up to
#: this number of chunks, and then ignored.
MAX_CHUNKS: Final = 20_000
#: Allowed bit depths by colour type, table 8.
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6

Buffer = bytes | memoryview
Size = tuple[int, int]
Region = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PngHeader:
    """A PNG file's structure.

    Attributes:
        width: As stored, in pixels, before the EXIF orientation.
        height: The same.
        orientation: The EXIF orientation, 1 to 8.
        depth: Bits of a sample.
        colour: The colour type, as in the file.
        interlaced: Whether the image data come in seven passes.
        palette: Three bytes for each colour of colour type 3.
        transparency: The content of tRNS, checked; empty if there is none.
        data: The compressed image data, in pieces. Where the checksums of all chunks are right,
            the last piece is the checksum of the pixels.
        region: Left, top, width and height of what is in `data`: a part of the image only where
            the first frame of an animation is smaller.
    """

    width: int
    height: int
    orientation: int
    depth: int
    colour: int
    interlaced: bool
    palette: bytes
    transparency: bytes
    data: tuple[memoryview, ...]
    region: Region


def read_png(data: Buffer) -> PngHeader:
    """Read a PNG file.

    Raises:
        ImageRejected: It is damaged, truncated, or has too many chunks.
        struct.error: It is truncated.
    """
    return _Reader(memoryview(data)).read()


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._palette = self._transparency = b""
        self._exif: bytes | None = None
        self._idat: list[memoryview] = []
        self._frame: list[memoryview] = []
        self._region: Region | None = None
        #: Whether acTL said that this is an animation, and whether its first frame is in IDAT.
        self._animated = self._idat_is_frame = False
        self._before = b""
        self._intact = True

    def read(self) -> PngHeader:
        data = self._data
        length, kind = struct.unpack_from(">I4s", data, 8)
        width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
        if kind != b"IHDR" or length != 13 or not _is_intact(data, 8, 13):
            raise ImageRejected("no intact IHDR where it belongs")
        if depth not in _DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1:
            raise ImageRejected("an impossible IHDR")
        self._size, self._depth, self._colour = (width, height), depth, colour
        self._walk(33)
        hidden = self._animated and not self._idat_is_frame and self._frame
        whole = (0, 0, width, height)
        region = (self._region or whole) if hidden else whole
        if not self._idat:
            raise ImageRejected("no image data")
        if colour == PALETTE and not self._palette:
            raise ImageRejected("no palette")
        return PngHeader(
            width=width,
            height=height,
            orientation=read_orientation(self._exif or b""),
            depth=depth,
            colour=colour,
            interlaced=methods[2] == 1,
            palette=self._palette,
            transparency=self._transparency,
            data=self._split(self._frame if hidden else self._idat),
            region=region,
        )

    def _walk(self, at: int) -> None:
        data, count = self._data, 0
        while at + 8 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            content = data[at + 8 : at + 8 + length]
            count += 1
            if count > MAX_CHUNKS:
                if not self._idat or self._before == b"IDAT":
                    raise ImageRejected("too many chunks")
                return
            complete = at + 12 + length <= len(data)
            if not self._idat and not complete and kind != b"IDAT":
                raise ImageRejected("a chunk is longer than the file")
            if kind == b"IEND":
                return
            intact = not complete or kind not in _CHECKED or _is_intact(data, at, length)
            self._read(kind, content, intact=intact)
            self._before = kind
            at += 12 + length

    def _read(self, kind: bytes, content: memoryview, *, intact: bool) -> None:
        if kind == b"IDAT":
            if not self._idat or self._before == b"IDAT":
                self._intact = self._intact and intact
                self._idat.append(content)
        elif kind == b"PLTE":
            if self._colour == PALETTE and not self._idat and not self._palette:
                if not intact or len(content) % 3 or not 3 <= len(content) <= 768:
                    raise ImageRejected("an impossible palette")
                self._palette = bytes(content)
        elif kind == b"tRNS":
            # A damaged one is ignored, as by libpng.
            if intact and not self._idat and not self._transparency and self._fits(content):
                self._transparency = bytes(content)
        elif kind == b"eXIf":
            if intact and self._exif is None:
                self._exif = bytes(content[:MAX_EXIF_BYTES])
        elif kind == b"acTL":
            self._animated = self._animated or (not self._idat and any(content[:4]))
        elif kind == b"fcTL":
            self._read_frame_control(content)
        elif kind == b"fdAT":
            # The first frame ends where another chunk begins.
            if self._region and (not self._frame or self._before == b"fdAT"):
                self._intact = self._intact and intact
                self._frame.append(content[4:])
        elif not kind[0] & 0x20:
            raise ImageRejected("an unknown critical chunk")

    def _read_frame_control(self, content: memoryview) -> None:
        if not self._idat:
            self._idat_is_frame = True
        elif self._region is None and not self._idat_is_frame and len(content) == 26:
            across, down, left, top = struct.unpack_from(">IIII", content, 4)
            width, height = self._size
            if 0 < across <= width - left and 0 < down <= height - top:
                self._region = (left, top, across, down)

    def _split(self, data: list[memoryview]) -> tuple[memoryview, ...]:
        # The decoder is done when it has all rows, so it does not read a piece behind them.
        last = data[-1]
        pieces = [*data[:-1], last[:-4], last[-4:]] if self._intact else data
        return tuple(piece for piece in pieces if len(piece))

    def _fits(self, content: memoryview) -> bool:
        """Whether tRNS has the length that the colour type demands."""
        if self._colour == PALETTE:
            return 0 < len(content) <= len(self._palette) // 3
        return len(content) == {GREY: 2, RGB: 6}.get(self._colour)


#: Chunks whose checksum is computed: those that are used.
_CHECKED: Final = frozenset({b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"fdAT"})


def _is_intact(data: memoryview, at: int, length: int) -> bool:
    (expected,) = struct.unpack_from(">I", data, at + 8 + length)
    return zlib.crc32(data[at + 4 : at + 8 + length]) == int(expected)
