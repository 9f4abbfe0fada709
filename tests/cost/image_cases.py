"""Image files that cost a careless reader or decoder far more than their size."""

from __future__ import annotations

import struct
import zlib
from functools import partial

from PIL import Image

from blindgate.imaging.decode import decode, inspect
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import DEFAULT_LIMITS
from tests.blindgate.imaging.corpus import after_ihdr, after_jfif, apng, jpeg, png, riff, webp
from tests.blindgate.imaging.files import chunk, encoded
from tests.cost.harness import Case
from tests.cost.hostile import Make, repeated

_JPEG = jpeg()
_PROGRESSIVE = jpeg(progressive=True)
_FIRST = 20  # SOI and JFIF
_END = b"\xff\xd9"
_PNG = png()
_LAST_SCAN = _PROGRESSIVE[_PROGRESSIVE.rindex(b"\xff\xda") : -2]
_TABLE = b"\xff\xdb" + struct.pack(">H", 2 + 65 * 100) + (b"\0" + b"\1" * 64) * 100
_CODES = b"\xff\xc4\x00\x15\x00" + bytes([0, 1, 1, *[0] * 13]) + b"\x00\x01"


def _behind_first(piece: bytes) -> Make:
    return repeated(_JPEG[:_FIRST], piece, _JPEG[_FIRST:])


def _behind_scans(piece: bytes) -> Make:
    return repeated(_PROGRESSIVE[:-2], piece, _END)


def _bombs(kind: bytes, prefix: bytes) -> Make:
    return repeated(_PNG[:33], chunk(kind, prefix + zlib.compress(bytes(1_000_000), 9)), _PNG[33:])


def _tiny_data(size: int) -> bytes:
    rows = b"".join(b"\0" + bytes(1000) for _ in range(size // 1000))
    data = zlib.compress(rows, 0)
    pieces = b"".join(chunk(b"IDAT", data[at : at + 100]) for at in range(0, len(data), 100))
    header = struct.pack(">IIBBBBB", 1000, size // 1000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pieces + chunk(b"IEND", b"")


def _webp_chunks(size: int, *, first: bool) -> bytes:
    simple = webp()
    image = (simple[12:16], simple[20 : 20 + struct.unpack_from("<I", simple, 16)[0]])
    features = (b"VP8X", bytes(4) + (95).to_bytes(3, "little") + (63).to_bytes(3, "little"))
    more = [(b"abcd", b"")] * (size // 8)
    return riff(features, *more, image) if first else riff(features, image, *more)


def _animation(size: int) -> bytes:
    frames = [Image.new("RGB", (64, 64), (at % 256, 0, 0)) for at in range(20)]
    file = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    at = file.index(b"ANMF")
    body = file[12:at] + file[at:] * (size // (len(file) - at))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _restarts(size: int) -> bytes:
    """A marker after every block."""
    side = int((size / 9) ** 0.5) * 8
    return encoded(Image.new("L", (side, side)), "JPEG", restart_marker_blocks=1)


def _look(data: bytes) -> object:
    return decode(inspect(data, DEFAULT_LIMITS), (416, 416)).image


_MAKERS: dict[str, Make] = {
    "fill bytes": _behind_first(b"\xff"),
    "zeros between segments": _behind_first(b"\0"),
    "stuffed zeros between segments": _behind_first(b"\xff\0"),
    "restart markers between segments": _behind_first(b"\xff\xd0"),
    "empty comments": _behind_first(b"\xff\xfe\0\2"),
    "empty application data": _behind_first(b"\xff\xe5\0\2"),
    "large application data": _behind_first(b"\xff\xe1\xff\xff" + bytes(65533)),
    "quantization tables": _behind_first(_TABLE),
    "Huffman tables": _behind_first(_CODES),
    "comments behind the scans": _behind_scans(b"\xff\xfe\0\2"),
    "markers behind the scans": _behind_scans(b"\xff\x01"),
    "stuffed zeros in the last scan": _behind_scans(b"\xff\0"),
    "restart markers in the last scan": _behind_scans(b"\xff\xd0"),
    "scans": _behind_scans(_LAST_SCAN),
    "restarts": _restarts,
    "trailer of scans": repeated(_PROGRESSIVE, b"\xff\xda", b""),
    "compressed profiles": _bombs(b"iCCP", b"x\0\0"),
    "compressed texts": _bombs(b"zTXt", b"x\0\0"),
    "compressed international texts": _bombs(b"iTXt", b"x\0\1\0\0\0"),
    "empty chunks": repeated(_PNG[:33], chunk(b"teXt", b""), _PNG[33:]),
    "one long chunk": lambda size: after_ihdr(_PNG, chunk(b"tEXt", bytes(size))),
    "tiny pieces of data": _tiny_data,
    "empty pieces of data": repeated(_PNG[:-12], chunk(b"IDAT", b""), _PNG[-12:]),
    "frames of a PNG": lambda size: apng(hidden=True, frames=size // 200),
    "chunks before a WebP image": partial(_webp_chunks, first=True),
    "chunks behind a WebP image": partial(_webp_chunks, first=False),
    "frames of a WebP": _animation,
    "one long segment after another": lambda size: after_jfif(
        _JPEG, (b"\xff\xe2" + struct.pack(">H", 65_535) + bytes(65_533)) * (size // 65_537)
    ),
}

CASES = [
    # Eight bytes a pixel are for the image itself, of 1000 x 2000 pixels in the largest.
    Case(name, make, _look, 10.0 if name == "tiny pieces of data" else 3.0,
         refuses=(ImageRejected, ImageTooLarge))
    for name, make in _MAKERS.items()
]  # fmt: skip
