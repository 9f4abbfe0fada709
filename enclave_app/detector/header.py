"""What a picture's first bytes say, read without decoding anything.

Pillow takes memory by what a header claims (its WebP plugin already when it opens a file), so
the claim is checked first. The three formats are recognised by content. Structure that the
decoders would let pass damaged is checked here too: PNG checksums and its end, WebP's length.

Sources: ITU-T T.81 annex B (JPEG), W3C PNG third edition sections 5 and 11, RFC 9649 (WebP).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

#: A progressive photo has some ten scans; each costs a pass over the whole picture.
MAX_JPEG_SCANS: Final = 100
#: Colour profiles and maker notes come in pieces of 64 KB; a few hundred at most.
MAX_JPEG_SEGMENTS: Final = 2_000
#: What is searched at once: what comes between stays in the processor's caches.
_BLOCK: Final = 256 * 1024
#: Writers cut the image data into pieces of 8 KB or more.
MAX_PNG_CHUNKS: Final = 20_000

#: JPEG markers (table B.1): frame headers of the processes that Pillow decodes, and a scan's.
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = (0xC0, 0xC1, _PROGRESSIVE)
_SCAN: Final = 0xDA
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Allowed bit depths by PNG colour type (table 8).
_PNG_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


Buffer = bytes | memoryview


class HeaderError(ValueError):
    """The bytes are no picture of the three formats, or a damaged one."""


@dataclass(frozen=True)
class Header:
    """What a picture claims to be."""

    format: Literal["jpeg", "png", "webp"]
    #: As stored, before the EXIF orientation.
    width: int
    height: int
    #: Bytes that the decoder takes besides the picture that it returns.
    working_bytes: int
    #: The EXIF block of a JPEG file, which stands before the image data.
    exif: bytes = b""
    #: Of a JPEG file: whether it comes in scans, coarse to fine.
    progressive: bool = False


def read_header(data: Buffer) -> Header:
    """Read the header of a JPEG, PNG or WebP file.

    Raises:
        HeaderError: It is none of them, or damaged.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == _PNG_SIGNATURE:
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        raise HeaderError("cut off") from None
    raise HeaderError("not JPEG, PNG or WebP")


def _jpeg(data: Buffer) -> Header:
    """Up to the first scan, whose header says how many there may be."""
    exif = b""
    frame: tuple[int, int, int] | None = None
    for marker, at, length in _segments(data):
        if marker in _FRAMES:
            if frame is not None:
                raise HeaderError("two frame headers")
            frame = marker, at, length
        elif marker == _SCAN:
            if frame is None:
                raise HeaderError("a scan before the frame header")
            return _jpeg_frame(data, frame, at, exif)
        elif 0xC3 <= marker <= 0xD9 and marker not in (0xC4, 0xC8, 0xCC):
            raise HeaderError("an unusual coding process, or the end")
        elif marker == 0xE1 and not exif and data[at + 2 : at + 8] == b"Exif\0\0":
            exif = bytes(data[at + 8 : at + length])
    raise HeaderError("too many segments")


def _segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Marker, place and length of each segment (B.1.1.4), as far as there are any without data."""
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes, B.1.1.2
            at += 1
        if data[at] != 0xFF:
            raise HeaderError("no marker where one belongs")
        marker = data[at + 1]
        at += 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers that stand alone
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise HeaderError("a segment is longer than the file")
        yield marker, at, length
        at += length


def _jpeg_frame(data: Buffer, frame: tuple[int, int, int], scan: int, exif: bytes) -> Header:
    """The frame header, B.2.2, and the first scan's, B.2.3."""
    marker, at, length = frame
    precision, height, width, components = struct.unpack_from(">BHHB", data, at + 2)
    if precision != 8 or components not in (1, 3, 4) or length != 8 + 3 * components:
        raise HeaderError("an unusual frame header")
    sampling = [data[at + 9 + 3 * index] for index in range(components)]
    factors = [(value >> 4, value & 15) for value in sampling]
    if any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        raise HeaderError("impossible sampling factors")
    progressive = marker == _PROGRESSIVE
    # Where the first scan holds all of the picture libjpeg takes no second one (`initial_setup`
    # and `consume_markers` in jdinput.c), and nobody need look for it.
    in_scans = progressive or data[scan + 2] < components
    if in_scans and _scans(data, at) > MAX_JPEG_SCANS:
        raise HeaderError("too many scans")
    # a picture's coefficients are all kept, in 16 bits, until the last of several scans
    widest = max(across for across, _ in factors) * max(down for _, down in factors)
    share = sum(across * down for across, down in factors) / widest
    working = int(width * height * share * 2) if in_scans else 0
    return Header("jpeg", width, height, working, exif, progressive)


def _scans(data: Buffer, at: int) -> int:
    """How many scans begin behind `at`: five times as fast as `bytes.count` on a photo."""
    octets = np.frombuffer(data, np.uint8, offset=at)
    found = 0
    for start in range(0, len(octets) - 1, _BLOCK):
        block = octets[start : start + _BLOCK + 1]
        markers = np.flatnonzero(block[:-1] == 0xFF)
        found += int(np.count_nonzero(block[markers + 1] == 0xDA))
    return found


def _png(data: Buffer) -> Header:
    length, kind = struct.unpack_from(">I4s", data, 8)
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if kind != b"IHDR" or length != 13:
        raise HeaderError("no IHDR where it belongs")
    if depth not in _PNG_DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise HeaderError("an impossible IHDR")
    at, filled = 8, False
    for _ in range(MAX_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise HeaderError("a chunk is longer than the file")
        if not kind[0] & 0x20:  # a critical chunk: upper case
            (expected,) = struct.unpack_from(">I", data, at + 8 + length)
            if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != expected:
                raise HeaderError("a chunk's checksum is wrong")
        filled = filled or kind == b"IDAT"
        if kind == b"IEND":
            if not filled:
                raise HeaderError("no image data")
            return Header("png", width, height, 0)
        at += 12 + length
    raise HeaderError("too many chunks")


def _webp(data: Buffer) -> Header:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise HeaderError("shorter than it says")
    kind, flags = data[12:16], data[20]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a" or flags & 1:
            raise HeaderError("no key frame")
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        if flags != 0x2F:
            raise HeaderError("no VP8L signature")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        _ = data[29]
    else:
        raise HeaderError("an unknown first chunk")
    # the decoder is one for animations: a frame and two canvases, RGBA
    return Header("webp", width, height, width * height * 12)
