"""The two photos of the benchmark, made from scikit-image's own pictures (all CC0 or public).

Both show the same scene, laid out of several pictures so that it holds objects and detail, at
the size of a web page's photo and at that of a phone's.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from PIL import Image

_PICTURES: Final = (
    "motorcycle_left.png",
    "coffee.png",
    "rocket.jpg",
    "astronaut.png",
    "chelsea.png",
    "hubble_deep_field.jpg",
)


@dataclass(frozen=True, slots=True)
class Photo:
    """One JPEG file.

    Attributes:
        name: What the tables call it.
        data: The file.
        width: Pixels.
        height: Pixels.
    """

    name: str
    data: bytes
    width: int
    height: int


def make_photos() -> dict[str, Photo]:
    """A web-sized photo of 300 KB and a phone's photo of 3 MB, by name."""
    scene = _mosaic(1280, 960)
    sizes = {"300 KB": (1280, 960, 300_000), "3 MB": (4200, 3150, 3_000_000)}
    return {name: _photo(scene, name, *size) for name, size in sizes.items()}


def _photo(scene: Image.Image, name: str, width: int, height: int, size: int) -> Photo:
    canvas = scene.resize((width, height), Image.Resampling.LANCZOS)
    low, high = 20, 99
    while low < high:  # the best quality whose file is not larger than asked for
        middle = (low + high + 1) // 2
        if len(_jpeg(canvas, middle)) <= size:
            low = middle
        else:
            high = middle - 1
    return Photo(name, _jpeg(canvas, low), width, height)


def _mosaic(width: int, height: int) -> Image.Image:
    folder = Path(str(files("skimage"))) / "data"
    canvas = Image.new("RGB", (width, height))
    pictures = itertools.cycle([Image.open(folder / name).convert("RGB") for name in _PICTURES])
    top = 0
    while top < height:
        left, tallest = 0, 0
        while left < width:
            picture = next(pictures)
            canvas.paste(picture, (left, top))
            left += picture.width
            tallest = max(tallest, picture.height)
        top += min(tallest, 430)
    return canvas


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
