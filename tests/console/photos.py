"""Photos of every orientation, depth and transparency, and the pixels that the enclave makes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from blindgate.imaging.decode import decode_whole
from tests.blindgate.imaging import corpus
from tests.blindgate.imaging.files import chunk, encoded, exif, quadrants

WIDTH, HEIGHT = 240, 160
#: The middles of so many parts across and down are compared.
GRID = 6


def _turned(kind: str, orientation: int) -> bytes:
    return encoded(quadrants(WIDTH, HEIGHT), kind, exif=exif(orientation), quality=95)


def _png(mode: str) -> bytes:
    image = quadrants(WIDTH, HEIGHT).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image, "PNG")


def _grey16() -> bytes:
    grey = np.asarray(quadrants(WIDTH, HEIGHT).convert("L")).astype(np.uint16) * 257
    return encoded(Image.fromarray(grey), "PNG")


def _webp_turned_by_hand() -> bytes:
    """With chunks before and after the EXIF block, and a trailer."""
    more = ((b"abcd", b"odd"), (b"EXIF", b"Exif\0\0" + corpus.tiff(8)), (b"XMP ", b"<x/>"))
    return corpus.extended(0x0C, (b"ICCP", b"no profile"), after=more) + b"trailer"


def photos() -> dict[str, bytes]:
    """File names and contents."""
    grey16 = _grey16()
    return {
        **{f"webp-{turn}.webp": _turned("WEBP", turn) for turn in range(1, 9)},
        **{f"jpeg-{turn}.jpg": _turned("JPEG", turn) for turn in (2, 5, 7)},
        **{f"png-{turn}.png": _turned("PNG", turn) for turn in (4, 8)},
        "webp-by-hand.webp": _webp_turned_by_hand(),
        "jpeg-two-exif-blocks.jpg": corpus.after_jfif(
            corpus.jpeg(),
            corpus.segment(0xE1, b"Exif\0\0" + corpus.tiff(6))
            + bytes(9)
            + corpus.segment(0xE1, b"Exif\0\0" + corpus.tiff(3)),
        ),
        "png-exif-behind.png": corpus.before_iend(corpus.png(), chunk(b"eXIf", corpus.tiff(6))),
        "png-broken-exif.png": corpus.after_ihdr(
            corpus.png(), corpus.broken(b"eXIf", corpus.tiff(6))
        ),
        "png-grey-16.png": grey16,
        "png-grey-16-transparent.png": corpus.after_ihdr(
            grey16, chunk(b"tRNS", struct.pack(">H", 0xFFFF))
        ),
        "png-alpha.png": _png("RGB"),
        "png-grey-alpha.png": _png("L"),
        "png-animated.png": corpus.apng(hidden=False),
        "motion.jpg": corpus.ACCEPTED["jpeg-progressive-motion-photo"](),
    }


def write_photos(folder: Path) -> None:
    """Write them, and `expected.json` with the upright size and some pixels of each."""
    folder.mkdir()
    expected = {}
    for name, content in photos().items():
        (folder / name).write_bytes(content)
        image = decode_whole(content)
        places = [(2 * at + 1) / (2 * GRID) for at in range(GRID)]
        pixels = [
            image.getpixel((int(x * image.width), int(y * image.height)))
            for y in places
            for x in places
        ]
        expected[name] = {"width": image.width, "height": image.height, "pixels": pixels}
    (folder / "expected.json").write_text(json.dumps({"grid": GRID, "files": expected}))
