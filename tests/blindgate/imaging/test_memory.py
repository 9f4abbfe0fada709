"""Decoding takes at most the memory that is known from the header, for every kind of pixels.

Each file is decoded in a process that was forked for it, and the kernel says what it took at most.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blindgate.imaging.decode import decode, decoded_bytes, inspect, upright_size
from blindgate.imaging.limits import DEFAULT_LIMITS, ImageLimits
from tests.blindgate.imaging.files import chunk, encoded, exif

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT = 2000, 1500
MIB = 1024 * 1024

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"
)


def gradient(mode: str = "RGB") -> Image.Image:
    ramp = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    image = Image.merge("RGBA", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp, ramp))
    return image.convert(mode)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(gradient(mode), "JPEG", **options)


def png(depth: int, colour: int, *more: bytes, interlaced: bool = False) -> bytes:
    """Black, of any kind of pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    sizes = [(WIDTH, HEIGHT)]
    if interlaced:
        steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                 (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
        sizes = [(-(-(WIDTH - x) // a), -(-(HEIGHT - y) // d)) for x, y, a, d in steps]
    data = b"".join(bytes(1 + -(-w * channels * depth // 8)) * h for w, h in sizes)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(data, 1))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def webp(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(gradient(mode), "WEBP", **{"method": 0, **options})


_PALETTE = chunk(b"PLTE", bytes(768))
_TURNED = chunk(b"eXIf", exif(6).tobytes()[6:])
FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg,
    "jpeg turned": partial(jpeg, exif=exif(6)),
    "jpeg grey": partial(jpeg, "L"),
    "jpeg cmyk": partial(jpeg, "CMYK"),
    "jpeg 4:4:4": partial(jpeg, subsampling=0),
    "progressive": partial(jpeg, progressive=True),
    "progressive 4:4:4 turned": partial(jpeg, progressive=True, subsampling=0, exif=exif(8)),
    "progressive grey": partial(jpeg, "L", progressive=True),
    "progressive cmyk": partial(jpeg, "CMYK", progressive=True, subsampling=0),
    **{f"png {depth} bits of grey": partial(png, depth, 0) for depth in (1, 2, 4, 8, 16)},
    **{
        f"png {depth} bits of grey, one transparent": partial(
            png, depth, 0, chunk(b"tRNS", b"\0\0")
        )
        for depth in (1, 2, 4, 8, 16)
    },
    **{f"png palette of {depth} bits": partial(png, depth, 3, _PALETTE) for depth in (1, 2, 4, 8)},
    "png transparent palette": partial(png, 8, 3, _PALETTE, chunk(b"tRNS", bytes(200))),
    **{f"png {depth} bits rgb": partial(png, depth, 2) for depth in (8, 16)},
    **{
        f"png {depth} bits rgb, one transparent": partial(png, depth, 2, chunk(b"tRNS", bytes(6)))
        for depth in (8, 16)
    },
    **{f"png {depth} bits grey and alpha": partial(png, depth, 4) for depth in (8, 16)},
    **{f"png {depth} bits rgb and alpha": partial(png, depth, 6) for depth in (8, 16)},
    "png turned": partial(png, 8, 2, _TURNED),
    "png with alpha turned": partial(png, 8, 6, _TURNED),
    "png interlaced": partial(png, 8, 2, interlaced=True),
    "webp": webp,
    "webp lossless": partial(webp, lossless=True, quality=0),
    "webp alpha": partial(webp, "RGBA"),
    "webp alpha lossless turned": partial(
        webp, "RGBA", lossless=True, quality=0, exif=exif(6).tobytes()
    ),
    "webp animated": lambda: encoded(
        gradient(), "WEBP", method=0, save_all=True, append_images=[gradient("L").convert("RGB")]
    ),
}
#: Whole, and as small as the detector wants it.
WANTED = {"whole": (10**6, 10**6), "small": (300, 200)}


def peak() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


def measured(file: bytes, wanted: tuple[int, int]) -> int:
    """Bytes that decoding takes at its peak, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        decode(inspect(file, DEFAULT_LIMITS), wanted)
        os.write(writer, str(peak() - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as result:
        taken = result.read()
    assert os.waitpid(child, 0)[1] == 0
    return int(taken)


def main() -> None:
    """Print, for every file and wanted size, what was expected and what was taken."""
    decode(inspect(encoded(Image.new("RGB", (8, 8)), "WEBP"), DEFAULT_LIMITS), (8, 8))
    found = {}
    for name, make in FILES.items():
        file = make()
        for how, wanted in WANTED.items():
            expected = decoded_bytes(inspect(file, DEFAULT_LIMITS), wanted)
            found[f"{name}, {how}"] = (expected, measured(file, wanted))
    print(json.dumps(found))


@pytest.fixture(scope="module")
def costs() -> dict[str, tuple[int, int]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.blindgate.imaging.test_memory"],
        cwd=ROOT,
        # What was freed goes back to the kernel: what making the files left would be used again.
        env={
            **os.environ,
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, tuple[int, int]] = json.loads(done.stdout)
    return found


@needs_linux
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", WANTED)
@pytest.mark.parametrize("name", FILES)
def test_decoding_takes_no_more_memory_than_the_header_says(
    name: str, how: str, costs: dict[str, tuple[int, int]]
) -> None:
    expected, taken = costs[f"{name}, {how}"]
    assert taken <= expected, f"{taken / MIB:.1f} MiB instead of {expected / MIB:.1f}"
    # otherwise nothing was measured: an image of the smallest mode and its RGB copy
    if how == "whole":
        assert taken >= 4 * WIDTH * HEIGHT


@pytest.mark.parametrize("name", FILES)
def test_the_largest_image_of_every_kind_is_within_what_the_limits_say(name: str) -> None:
    file = FILES[name]()
    header = inspect(file, DEFAULT_LIMITS)
    limits = ImageLimits(len(file), WIDTH * HEIGHT, WIDTH)
    for wanted in ((1, 1), (WIDTH // 2, HEIGHT // 2), upright_size(header), (10**6, 10**6)):
        assert decoded_bytes(header, wanted) <= limits.decoded_bytes


@pytest.mark.parametrize("size", [(1, 32_767), (32_767, 1), (32_767, 2047), (7, 5), (8191, 8192)])
@pytest.mark.parametrize("sampling", [0x11, 0x12, 0x21, 0x22, 0x41, 0x44])
def test_no_jpeg_within_the_limits_needs_more_than_they_say(
    size: tuple[int, int], sampling: int
) -> None:
    """The header of a progressive image with four components, the first one sampled oddly."""
    file = bytearray(encoded(Image.new("CMYK", (8, 8)), "JPEG", progressive=True))
    at = file.index(b"\xff\xc2")
    struct.pack_into(">HH", file, at + 5, size[1], size[0])
    file[at + 11] = sampling
    header = inspect(bytes(file), DEFAULT_LIMITS)
    limits = ImageLimits(0, size[0] * size[1], max(size))
    assert decoded_bytes(header, size) <= limits.decoded_bytes
    assert limits.decoded_bytes <= DEFAULT_LIMITS.decoded_bytes


def test_a_kind_of_pixels_is_decoded_as_it_was_measured() -> None:
    """The files above are what their names say."""
    assert np.asarray(decode(inspect(png(16, 0), DEFAULT_LIMITS), (9, 9)).image).max() == 0
    assert np.asarray(
        decode(inspect(png(16, 0, chunk(b"tRNS", b"\0\0")), DEFAULT_LIMITS), (9, 9)).image
    ).min() == 255  # fmt: skip


if __name__ == "__main__":
    main()
