"""Image files as cameras, phones and editors write them, and as they should not.

Every file shows `quadrants`: red, green / blue, white. Names must be safe in URLs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from tests.blindgate.imaging.files import chunk, encoded, exif, quadrants

WIDTH, HEIGHT = 96, 64
PICTURE = quadrants(WIDTH, HEIGHT)
MIB = 1 << 20


def noise(count: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def jpeg(**options: Any) -> bytes:
    return encoded(PICTURE, "JPEG", **{"quality": 92, **options})


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def after_jfif(file: bytes, more: bytes) -> bytes:
    """With bytes between the first segment and the next."""
    end = 4 + struct.unpack_from(">H", file, 4)[0]
    return file[:end] + more + file[end:]


def before_scan(file: bytes, more: bytes) -> bytes:
    at = file.index(b"\xff\xda")
    return file[:at] + more + file[at:]


def before_last_scan(file: bytes, more: bytes) -> bytes:
    at = file.rindex(b"\xff\xda")
    return file[:at] + more + file[at:]


def png(image: Image.Image = PICTURE, **options: Any) -> bytes:
    return encoded(image, "PNG", **options)


def after_ihdr(file: bytes, *chunks: bytes) -> bytes:
    return file[:33] + b"".join(chunks) + file[33:]


def before_iend(file: bytes, *chunks: bytes) -> bytes:
    return file[:-12] + b"".join(chunks) + file[-12:]


def broken(kind: bytes, content: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    good = chunk(kind, content)
    return good[:-1] + bytes([good[-1] ^ 1])


def rewritten(change: Callable[[bytes], bytes], *, by: int = 0) -> bytes:
    """A PNG whose image data are changed, and their checksum is wrong by so much."""
    file = png()
    at = file.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", file, at)
    data = chunk(b"IDAT", change(file[at + 8 : at + 8 + length]))
    return file[:at] + data[:-1] + bytes([data[-1] ^ by]) + file[-12:]


def many_idats(size: int) -> bytes:
    file = png()
    at = file.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", file, at)
    data = file[at + 8 : at + 8 + length]
    pieces = [chunk(b"IDAT", data[start : start + size]) for start in range(0, length, size)]
    return file[:at] + b"".join(pieces) + file[-12:]


def grey16() -> Image.Image:
    return Image.fromarray(np.asarray(PICTURE.convert("L")).astype(np.uint16) * 257)


def raw_png(depth: int, colour: int, rows: np.ndarray[Any, Any], *more: bytes) -> bytes:
    """A PNG of rows of bytes without filters."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(data))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def levels(depth: int) -> np.ndarray[Any, Any]:
    """Grey quadrants in so many bits: 0, about 1/3, about 2/3, full."""
    most = (1 << depth) - 1
    level = np.zeros((HEIGHT, WIDTH), np.uint16)
    level[:32, 48:] = most // 3
    level[32:, :48] = most * 2 // 3
    level[32:, 48:] = most
    if depth == 16:
        return level.astype(">u2").view(np.uint8)
    if depth == 8:
        return level.astype(np.uint8)
    bits = np.unpackbits(level.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
    return np.packbits(bits.reshape(HEIGHT, -1), axis=1)


def rgb16() -> np.ndarray[Any, Any]:
    return (
        (np.asarray(PICTURE).astype(np.uint16) * 257 + 3)
        .astype(">u2")
        .view(np.uint8)
        .reshape(HEIGHT, -1)
    )


def apng(
    *, hidden: bool, frames: int = 3, region: tuple[int, int, int, int] | None = None
) -> bytes:
    """An animation that begins with `quadrants`; IDAT holds another image if `hidden`."""
    left, top, across, down = region or (0, 0, WIDTH, HEIGHT)

    def control(number: int) -> bytes:
        fields = struct.pack(">IIIIIHHBB", number, across, down, left, top, 1, 10, 0, 0)
        return chunk(b"fcTL", fields)

    def data(image: Image.Image) -> bytes:
        rows = np.asarray(image).reshape(image.height, -1)
        return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    first = PICTURE.crop((left, top, left + across, top + down))
    other = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", frames, 0)),
    ]
    number = 0
    if hidden:
        parts += [chunk(b"IDAT", data(other)), control(0)]
        parts += [chunk(b"fdAT", struct.pack(">I", 1) + data(first))]
        number = 2
    else:
        parts += [control(0), chunk(b"IDAT", data(PICTURE))]
        number = 1
    later = data(other.crop((0, 0, across, down)))
    for _ in range(frames - 1):
        parts += [control(number), chunk(b"fdAT", struct.pack(">I", number + 1) + later)]
        number += 2
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def turned(kind: str, orientation: int) -> bytes:
    return encoded(PICTURE, kind, exif=exif(orientation), quality=92)


def png_interlaced() -> bytes:
    """An Adam7 PNG: seven passes, each a smaller image."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]  # fmt: skip
    pixels = np.asarray(PICTURE)
    rows = [
        b"\0" + row.tobytes()
        for x, y, across, down in passes
        for row in pixels[y::down, x::across].reshape(-(-(HEIGHT - y) // down), -1)
    ]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(rows)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def webp(**options: Any) -> bytes:
    return encoded(PICTURE, "WEBP", **{"quality": 92, **options})


def riff(*chunks: tuple[bytes, bytes], padding: bool = True) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + (b"\0" * (len(data) % 2) if padding else b"")
        for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def extended(
    flags: int, *before: tuple[bytes, bytes], after: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """A WebP with VP8X, chunks before the image and chunks after it."""
    simple = webp()
    size = struct.unpack_from("<I", simple, 16)[0]
    sides = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    image = (simple[12:16], simple[20 : 20 + size])
    return riff((b"VP8X", bytes([flags, 0, 0, 0]) + sides), *before, image, *after)


def tiff(orientation: int) -> bytes:
    return exif(orientation).tobytes()[6:]


def mpf() -> bytes:
    other = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    return encoded(PICTURE, "MPO", save_all=True, append_images=[other], quality=92)


_MOTION = b"MotionPhoto_Data" + b"\0\0\0\x18ftypmp42" + noise(200_000)
_RGBA = PICTURE.copy()
_RGBA.putalpha(255)

#: Files that Chromium shows whole, and that are accepted.
ACCEPTED: dict[str, Callable[[], bytes]] = {
    # Of JPEG files, the trailers
    "jpeg-motion-photo": lambda: jpeg() + _MOTION,
    "jpeg-progressive-motion-photo": lambda: jpeg(progressive=True) + _MOTION,
    "jpeg-restarts-motion-photo": lambda: jpeg(restart_marker_blocks=2) + _MOTION,
    "jpeg-progressive-zip": lambda: encoded(PICTURE, "JPEG", progressive=True) + b"PK\3\4" * 9,
    "jpeg-of-several-images": mpf,
    "jpeg-then-jpeg": lambda: jpeg(progressive=True) + jpeg(progressive=True),
    "jpeg-then-zeros": lambda: jpeg(progressive=True) + bytes(65536),
    "jpeg-then-ff": lambda: jpeg(progressive=True) + b"\xff" * 65536,
    # Of JPEG files, what lies between segments
    "jpeg-zero": lambda: after_jfif(jpeg(), b"\0"),
    "jpeg-zeros": lambda: after_jfif(jpeg(), bytes(4000)),
    "jpeg-64k-zeros": lambda: after_jfif(jpeg(), bytes(65536)),
    "jpeg-fill": lambda: after_jfif(jpeg(), b"\xff" * 4000),
    "jpeg-stuffed": lambda: after_jfif(jpeg(), b"\xff\0" * 4000),
    "jpeg-many-comments": lambda: after_jfif(jpeg(), segment(0xFE, b"x") * 3000),
    "jpeg-text": lambda: after_jfif(jpeg(), b"some text"),
    "jpeg-restart-marker": lambda: after_jfif(jpeg(), b"\xff\xd3"),
    "jpeg-tem": lambda: after_jfif(jpeg(), b"\xff\x01"),
    "jpeg-zeros-before-scan": lambda: before_scan(jpeg(), bytes(100)),
    "jpeg-zeros-between-scans": lambda: before_last_scan(jpeg(progressive=True), bytes(100)),
    "jpeg-comment-between-scans": lambda: before_last_scan(
        jpeg(progressive=True), segment(0xFE, b"between scans")
    ),
    "jpeg-zeros-before-end": lambda: jpeg()[:-2] + bytes(100) + b"\xff\xd9",
    # Of JPEG files, the metadata
    "jpeg-huge-metadata": lambda: after_jfif(jpeg(), segment(0xE1, noise(65000)) * 60),
    "jpeg-many-profiles": lambda: after_jfif(
        jpeg(), segment(0xE2, b"ICC_PROFILE\0\x01\x09" + noise(65000)) * 9
    ),
    "jpeg-photoshop": lambda: after_jfif(jpeg(), segment(0xED, b"Photoshop 3.0\0" + noise(900))),
    "jpeg-broken-exif": lambda: after_jfif(jpeg(), segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "jpeg-short-jfif": lambda: jpeg()[:2] + segment(0xE0, b"JFIF") + jpeg()[20:],
    "jpeg-short-adobe": lambda: after_jfif(jpeg(), segment(0xEE, b"Adobe")),
    "jpeg-adobe-rgb": lambda: encoded(PICTURE, "JPEG", keep_rgb=True, quality=92),
    "jpeg-comment": lambda: after_jfif(jpeg(), segment(0xFE, b"")),
    "jpeg-unknown-app": lambda: after_jfif(jpeg(), segment(0xEA, noise(300))),
    "jpeg-no-jfif": lambda: jpeg()[:2] + jpeg()[20:],
    # Of JPEG files, a missing end
    "jpeg-no-end": lambda: jpeg()[:-2],
    "jpeg-half-end": lambda: jpeg()[:-1],
    "jpeg-no-end-then-garbage": lambda: jpeg()[:-2] + b"\xff\x02garbage",
    "jpeg-no-end-then-zeros": lambda: jpeg()[:-2] + bytes(1000),
    "jpeg-progressive-no-end": lambda: jpeg(progressive=True)[:-2],
    # Of JPEG files, the kinds
    "jpeg-cmyk": lambda: encoded(PICTURE.convert("CMYK"), "JPEG", quality=92),
    "jpeg-cmyk-progressive": lambda: encoded(
        PICTURE.convert("CMYK"), "JPEG", quality=92, progressive=True
    ),
    "jpeg-grey": lambda: encoded(PICTURE.convert("L"), "JPEG", quality=92),
    "jpeg-444": lambda: jpeg(subsampling=0),
    "jpeg-422": lambda: jpeg(subsampling=1),
    **{f"jpeg-orientation-{n}": partial(turned, "JPEG", n) for n in range(1, 9)},
    "jpeg-progressive-orientation-5": lambda: jpeg(progressive=True, exif=exif(5)),
    # Of PNG files, the ancillary chunks
    "png-huge-text": lambda: after_ihdr(
        png(), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4 * MIB)))
    ),
    "png-international-text": lambda: after_ihdr(
        png(), chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(3 * MIB)))
    ),
    "png-broken-text": lambda: after_ihdr(png(), chunk(b"zTXt", b"Comment")),
    "png-large-text": lambda: after_ihdr(png(), chunk(b"tEXt", b"Comment\0" + b"a" * 2 * MIB)),
    "png-short-pixel-size": lambda: after_ihdr(png(), chunk(b"pHYs", b"\0")),
    "png-short-gamma": lambda: after_ihdr(png(), chunk(b"gAMA", b"\0\1")),
    "png-long-time": lambda: after_ihdr(png(), chunk(b"tIME", bytes(70))),
    "png-broken-profile": lambda: after_ihdr(png(), chunk(b"iCCP", b"icc\0\0" + noise(500))),
    "png-profile-bomb": lambda: after_ihdr(
        png(), chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(8 * MIB)))
    ),
    "png-short-background": lambda: after_ihdr(png(), chunk(b"bKGD", b"\0")),
    "png-wrong-checksum": lambda: after_ihdr(png(), broken(b"tEXt", b"Comment\0hello")),
    "png-unknown": lambda: after_ihdr(png(), chunk(b"abCd", noise(3000))),
    "png-unknown-at-the-end": lambda: before_iend(png(), chunk(b"abCd", noise(3000))),
    "png-short-exif": lambda: after_ihdr(png(), chunk(b"eXIf", b"II")),
    "png-transparency-too-long": lambda: after_ihdr(png(), chunk(b"tRNS", bytes(9))),
    "png-palette-in-rgb": lambda: after_ihdr(png(), chunk(b"PLTE", bytes(9))),
    "png-many-idats": lambda: many_idats(7),
    "png-empty-idats": lambda: png().replace(
        png()[33:], chunk(b"IDAT", b"") * 3 + png()[33:-12] + chunk(b"IDAT", b"") + png()[-12:]
    ),
    "png-wrong-data-checksum": lambda: rewritten(lambda data: data, by=1),
    "png-wrong-pixel-checksum": lambda: rewritten(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "png-no-pixel-checksum": lambda: rewritten(lambda data: data[:-4]),
    "png-more-data": lambda: rewritten(lambda data: data + b"more than one stream"),
    "png-more-rows": lambda: rewritten(
        lambda data: zlib.compress(zlib.decompress(data) + bytes(999))
    ),
    "png-trailer": lambda: png() + noise(100_000),
    "png-no-end": lambda: png()[:-12],
    "png-half-end": lambda: png()[:-5],
    "png-chunk-cut-off-behind-image": lambda: png()[:-12] + struct.pack(">I4s", 9999, b"tEXt"),
    # Of PNG files, the kinds of pixels
    "png-grey-1": lambda: raw_png(1, 0, levels(1)),
    "png-grey-2": lambda: raw_png(2, 0, levels(2)),
    "png-grey-4": lambda: raw_png(4, 0, levels(4)),
    "png-grey-8": lambda: raw_png(8, 0, levels(8)),
    "png-grey-16": lambda: raw_png(16, 0, levels(16)),
    "png-rgb-16": lambda: raw_png(16, 2, rgb16()),
    "png-palette": lambda: png(PICTURE.quantize(4)),
    "png-palette-200": lambda: png(PICTURE.quantize(200)),
    "png-grey-1-transparent": lambda: raw_png(1, 0, levels(1), chunk(b"tRNS", b"\0\0")),
    "png-grey-2-transparent": lambda: raw_png(2, 0, levels(2), chunk(b"tRNS", b"\0\1")),
    "png-grey-4-transparent": lambda: raw_png(4, 0, levels(4), chunk(b"tRNS", b"\0\x0a")),
    "png-grey-8-transparent": lambda: raw_png(8, 0, levels(8), chunk(b"tRNS", b"\0\x55")),
    "png-grey-16-transparent": lambda: raw_png(16, 0, levels(16), chunk(b"tRNS", b"\x55\x55")),
    "png-grey-16-nearly": lambda: raw_png(16, 0, levels(16), chunk(b"tRNS", b"\x55\x56")),
    "png-rgb-8-transparent": lambda: after_ihdr(png(), chunk(b"tRNS", b"\0\xdc\0\x14\0\x14")),
    "png-rgb-16-transparent": lambda: raw_png(
        16, 2, rgb16(), chunk(b"tRNS", struct.pack(">3H", *(v * 257 + 3 for v in (220, 20, 20))))
    ),
    "png-rgb-16-nearly": lambda: raw_png(
        16, 2, rgb16(), chunk(b"tRNS", struct.pack(">3H", *(v * 257 + 4 for v in (220, 20, 20))))
    ),
    "png-palette-transparent": lambda: png(PICTURE.quantize(4), transparency=bytes([0, 128, 255])),
    "png-rgba": lambda: png(_RGBA),
    "png-interlaced": png_interlaced,
    # Of PNG files, the animations
    "png-animated": lambda: apng(hidden=False),
    "png-animated-hidden-default": lambda: apng(hidden=True),
    "png-animated-part": lambda: apng(hidden=True, region=(10, 6, 60, 50)),
    "png-animated-many": lambda: apng(hidden=False, frames=30_000),
    **{f"png-orientation-{n}": partial(turned, "PNG", n) for n in (3, 6)},
    # WebP
    "webp": webp,
    "webp-lossless": lambda: webp(lossless=True),
    "webp-trailer": lambda: webp() + noise(100_000),
    "webp-profile": lambda: extended(0x20, (b"ICCP", noise(5001))),
    "webp-unknown": lambda: extended(0, (b"abcd", noise(77)), after=((b"zzzz", noise(3)),)),
    "webp-xmp": lambda: extended(0x04, after=((b"XMP ", b"<x/>" * 9999),)),
    "webp-many-chunks": lambda: extended(0, after=((b"abcd", b""),) * 30_000),
    "webp-flags-without-chunks": lambda: extended(0x3C & ~0x10),
    "webp-alpha": lambda: encoded(_RGBA, "WEBP", quality=92),
    "webp-animated": lambda: encoded(
        PICTURE, "WEBP", save_all=True, append_images=[Image.new("RGB", PICTURE.size)], quality=92
    ),
}  # fmt: skip
