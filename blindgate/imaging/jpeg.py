"""Read the structure of a JPEG file in one pass, without decoding.

The reader keeps what decides the pixels (tables, frame, scans) and drops the rest: metadata, stray
bytes between segments, and everything after the end of the image, such as the video of a motion
photo. It is as tolerant as libjpeg, which browsers use: it steps to the next marker over whatever
lies between two segments. Everything that costs time is bounded before the decoder starts.

Source: ITU-T T.81 annex B (syntax) and G (progressive), and libjpeg's `jdmarker.c`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.orientation import read_orientation

#: A progressive photo has some ten scans. Each costs a pass over the whole image.
MAX_SCANS: Final = 100
#: In the whole file. Metadata come in pieces of 64 KB, so files have a few hundred at most; this
#: many are read in some 20 ms.
MAX_SEGMENTS: Final = 10_000
#: Bytes between segments that belong to none; stepping over so many takes a millisecond.
MAX_STRAY_BYTES: Final = 1024 * 1024
#: Bytes of tables in the whole file: for each of `MAX_SCANS` scans eight Huffman tables of 273.
MAX_TABLE_BYTES: Final = 256 * 1024
#: How far one search for a marker goes before other threads get the interpreter's lock.
_WINDOW: Final = 256 * 1024

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
#: Markers, table B.1: frame headers of the processes with Huffman coding, and others. No camera
#: writes arithmetic coding, and libjpeg cannot decode it in steps between which to stop.
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = frozenset({0xC0, 0xC1, _PROGRESSIVE})
_TABLES: Final = frozenset({0xC4, 0xDB, 0xDD})
_SCAN, _END = 0xDA, 0xD9
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
#: Segments that change no pixel: other application data, comments, and DNL, as in libjpeg.
_SKIPPED: Final = frozenset({*range(0xE0, 0xF0), 0xFE, 0xDC})
#: Markers without a segment: TEM and the restart markers.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})

_FF: Final = re.compile(rb"\xff")
_NOT_FF: Final = re.compile(rb"[^\xff]")
#: Ends the data of a scan: 0xFF before anything but a stuffed zero, a restart, or a fill byte.
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

#: The smallest segments that say the same as the file's own: "the colours are YCbCr" (JFIF), and
#: which transform of colours was used (Adobe).
_JFIF: Final = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE: Final = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
#: In place of a missing end: enough for the decoder to finish the last block of a complete image,
#: and too little to hide that more is missing.
_PADDING: Final = bytes(64)

_NO_RESTARTS: Final = b"\xff\xdd\x00\x04\x00\x00"
#: A Huffman table (AC, number 0) of the codes for "this and the next 2^n.. blocks are zero", n = 0
#: to 14 (G.1.2.2), each of 4 bits.
_ZERO_RUNS: Final = (
    b"\xff\xc4" + struct.pack(">H", 2 + 1 + 16 + 15) + b"\x10" + bytes([0, 0, 0, 15, *[0] * 12])
    + bytes(length << 4 for length in range(15))
)  # fmt: skip
_LONGEST_RUN: Final = 0x7FFF

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Component:
    number: int
    across: int
    down: int


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan, and the tables defined since the one before it.

    Attributes:
        pieces: The segments, and the entropy-coded data.
        components: The numbers of the components that are in it.
        coefficients: Which are in it; 0 is the mean of a block.
        bits: How many of the lowest bits are left to later scans.
    """

    pieces: tuple[Buffer, ...]
    components: tuple[int, ...]
    coefficients: range
    bits: int


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """A JPEG file's structure.

    Attributes:
        width: As stored, in pixels, before the EXIF orientation.
        height: The same.
        orientation: The EXIF orientation, 1 to 8.
        components: 1 for grey, 3 for colours, 4 for CMYK.
        progressive: Whether the coefficients come from coarse to fine, in several scans.
        coefficient_bytes: What the decoder keeps besides the image: all coefficients in 16 bits
            until the last of several scans was read; 0 if there is one scan.
    """

    width: int
    height: int
    orientation: int
    components: int
    progressive: bool
    coefficient_bytes: int
    _frame: tuple[_Component, ...]
    _scans: tuple[_Scan, ...]
    _several: bool

    def pieces(self, reduction: int) -> Iterator[Buffer]:
        """What the decoder is given.

        Args:
            reduction: By how much the size is divided. At an eighth a block of 8 x 8 samples
                becomes one: its mean, the first coefficient. In a progressive file the others come
                in scans of their own, which are most of the file and most of the time. For
                components at full resolution they are replaced by one short scan that says "all
                zero", and the decoder's result is the same to the bit. (Components at half the
                resolution are decoded at a quarter of it, so their scans stay.)
        """
        full = self._at_full_resolution() if self.progressive and reduction == 8 else ()
        yield _SOI
        for scan in self._scans:
            if 0 not in scan.coefficients and set(scan.components) <= set(full):
                yield from scan.pieces[:-2]  # its tables may serve a later scan too
            else:
                yield from scan.pieces
        if full:
            yield _NO_RESTARTS + _ZERO_RUNS
            blocks = -(-self.width // 8) * -(-self.height // 8)
            for number in full:
                yield _empty_scan(number, blocks)
        yield _EOI if self._several else _PADDING

    def until_marker(self) -> Sequence[Buffer] | None:
        """The same for a file of one scan, without anything after that scan.

        Returns:
            None if nothing follows the scan, or if the file has several.
        """
        (*before, data) = self._scans[-1].pieces
        if self._several or (end := _next_marker(data, 0)) is None:
            return None
        return [_SOI, *before, data[:end], _EOI]

    def _at_full_resolution(self) -> tuple[int, ...]:
        across = max(component.across for component in self._frame)
        down = max(component.down for component in self._frame)
        return tuple(c.number for c in self._frame if (c.across, c.down) == (across, down))


def read_jpeg(data: Buffer) -> JpegHeader:
    """Read a JPEG file up to the end of its first image.

    Raises:
        ImageRejected: It is damaged, truncated, of an unusual kind, or has too many parts.
        struct.error: It is truncated.
        IndexError: The same.
    """
    return _Reader(memoryview(data)).read()


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 2
        self._stray = MAX_STRAY_BYTES
        self._steps = MAX_SEGMENTS
        self._table_bytes = MAX_TABLE_BYTES
        self._frame: memoryview | None = None
        self._progressive = False
        self._components: tuple[_Component, ...] = ()
        self._exif: bytes | None = None
        self._jfif = self._adobe = b""
        self._waiting: list[Buffer] = []  # segments that belong to the next scan
        self._scans: list[_Scan] = []

    def read(self) -> JpegHeader:
        while (marker := self._next()) != _END:
            if marker in _ALONE:
                continue
            segment = self._segment()
            if marker != _SCAN:
                self._read_segment(marker, segment)
            elif self._read_scan(segment):
                return self._header(several=False)
            elif self._at == len(self._data):
                if not self._is_complete():
                    raise ImageRejected("truncated")
                break
        if not self._scans:
            raise ImageRejected("no image data")
        return self._header(several=True)

    def _next(self) -> int:
        """Step to the next marker over fill bytes and stray bytes, as libjpeg's `next_marker`."""
        data = self._data
        while True:
            self._steps -= 1
            begin = _FF.search(data, self._at, self._at + self._stray + 1)
            end = begin and _NOT_FF.search(data, begin.end(), begin.end() + self._stray + 1)
            if end is None or self._steps < 0:
                raise ImageRejected("truncated, or too many segments or bytes between them")
            self._stray -= end.end() - self._at - 2
            self._at = end.end()
            if marker := data[end.start()]:
                return marker

    def _segment(self) -> memoryview:
        """The segment at this place, with its marker."""
        (length,) = struct.unpack_from(">H", self._data, self._at)
        begin, self._at = self._at - 2, self._at + length
        if length < 2 or self._at > len(self._data):
            raise ImageRejected("a segment is longer than the file")
        return self._data[begin : self._at]

    def _read_segment(self, marker: int, segment: memoryview) -> None:
        content, start = segment[4:], bytes(segment[4:10])
        if marker in _TABLES:
            self._table_bytes -= len(segment)
            if self._table_bytes < 0:
                raise ImageRejected("too many tables")
            self._waiting.append(segment)
        elif marker in _FRAMES:
            if self._frame is not None:
                raise ImageRejected("two frame headers")
            self._frame, self._progressive = segment, marker == _PROGRESSIVE
            self._components = _read_components(segment)
            self._waiting.append(segment)
        elif marker == _APP0 and len(content) >= 14 and start[:5] == b"JFIF\0":
            self._jfif = _JFIF
        elif marker == _APP14 and len(content) >= 12 and start[:5] == b"Adobe":
            self._adobe = _ADOBE + content[11:12]
        elif (
            marker == _APP1 and self._exif is None and not self._scans and start[:6] == b"Exif\0\0"
        ):
            self._exif = bytes(content)
        elif marker not in _SKIPPED:
            raise ImageRejected("an unusual coding process, or an unknown marker")

    def _read_scan(self, segment: memoryview) -> bool:
        """Read a scan's header (B.2.3), and find the end of its data.

        Returns:
            Whether nothing more of the file is needed: where the first scan holds all of the
            image, libjpeg reads no second one (`consume_markers` in jdinput.c).
        """
        if self._frame is None:
            raise ImageRejected("a scan before the frame header")
        count = segment[4]
        if len(segment) != 8 + 2 * count or not 1 <= count <= 4:
            raise ImageRejected("an impossible scan header")
        numbers = tuple(segment[5 : 5 + 2 * count : 2])
        first, last, bits = segment[5 + 2 * count : 8 + 2 * count]
        coefficients = range(first, min(last, 63) + 1)
        several = self._progressive or self._scans or count < len(self._components)
        start = self._at
        end = _next_marker(self._data, start) if several else None
        self._at = len(self._data) if end is None else end
        if not self._scans:
            self._waiting[:0] = [self._jfif + self._adobe]
        pieces = (*self._waiting, segment, self._data[start : self._at])
        self._scans.append(_Scan(pieces, numbers, coefficients, bits & 15))
        self._waiting = []
        if len(self._scans) > MAX_SCANS:
            raise ImageRejected("too many scans")
        return not several

    def _is_complete(self) -> bool:
        """Whether a progressive file without an end lacks nothing but a part of its last scan.

        That scan refines what all of the image shows already.
        """
        missing = {(each.number, at) for each in self._components for at in range(64)}
        for scan in self._scans:
            if scan.bits == 0 and self._progressive:
                missing -= {(n, at) for n in scan.components for at in scan.coefficients}
        return not missing and 0 not in self._scans[-1].coefficients

    def _header(self, *, several: bool) -> JpegHeader:
        assert self._frame is not None  # noqa: S101 - there is a scan, which needs one
        height, width = struct.unpack_from(">HH", self._frame, 5)
        return JpegHeader(
            width=width,
            height=height,
            orientation=read_orientation(self._exif or b""),
            components=len(self._components),
            progressive=self._progressive,
            coefficient_bytes=_coefficients(width, height, self._components) if several else 0,
            _frame=self._components,
            _scans=tuple(self._scans),
            _several=several,
        )


def _read_components(segment: memoryview) -> tuple[_Component, ...]:
    """The frame header, B.2.2."""
    precision, count = segment[4], segment[9]
    if precision != 8 or count not in (1, 3, 4) or len(segment) != 10 + 3 * count:
        raise ImageRejected("an unusual frame header")
    found = []
    for at in range(10, len(segment), 3):
        number, both = segment[at], segment[at + 1]
        if not (1 <= both >> 4 <= 4 and 1 <= both & 15 <= 4):
            raise ImageRejected("impossible sampling factors")
        found.append(_Component(number, both >> 4, both & 15))
    return tuple(found)


def _next_marker(data: Buffer, at: int) -> int | None:
    """Where the data of a scan that begins at `at` ends."""
    while at < len(data):
        # one byte more, for a marker on the border of two windows
        if found := _MARKER.search(data, at, at + _WINDOW + 1):
            return found.start()
        at += _WINDOW
    return None


def _coefficients(width: int, height: int, components: tuple[_Component, ...]) -> int:
    """Bytes of all coefficients, with the blocks that fill up the last unit on each side (A.2)."""
    across = max(component.across for component in components)
    down = max(component.down for component in components)
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    return units * sum(c.across * c.down for c in components) * 64 * 2


def _empty_scan(number: int, blocks: int) -> bytes:
    """A scan of one component's 63 coefficients that are all zero."""
    bits = []
    while blocks:
        run = min(blocks, _LONGEST_RUN)
        length = run.bit_length() - 1
        bits.append(f"{length:04b}" + (f"{run - (1 << length):0{length}b}" if length else ""))
        blocks -= run
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    packed = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")
    return b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, number, 0, 1, 63, 0) + packed
