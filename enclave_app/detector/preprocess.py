"""Preprocessing: turns a region of an image into the network's input, and boxes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blindgate.imaging.decode import Box, Picture
    from enclave_app.detector.manifest import Input

#: How much larger than the input a JPEG must stay when it is decoded at a fraction of its size,
#: so that what is resized afterwards is still finer than what is wanted.
MARGIN: Final = 1.25
#: Pillow first averages whole blocks down to this many times the size; the quality is the same as
#: in a single step.
_REDUCING_GAP: Final = 3.0


@dataclass(frozen=True)
class Placement:
    """Where a region of the image lies in the input: input = (image - origin) * scale + at."""

    region: Box
    scale: tuple[float, float]
    at: tuple[int, int]

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes `[n, 4]` from pixels of the input to pixels of the image, within the region."""
        left, top, right, bottom = self.region
        at = np.array([*self.at, *self.at], np.float64)
        scale = np.array([*self.scale, *self.scale], np.float64)
        moved = (boxes - at) / scale + np.array([left, top, left, top])
        low, high = np.array([left, top, left, top]), np.array([right, bottom, right, bottom])
        return np.asarray(np.clip(moved, low, high), np.float32)


def place(region: Box, wanted: Input) -> tuple[Placement, tuple[int, int]]:
    """Where a region of an image goes in the input, and its size there, in pixels."""
    width, height = region[2] - region[0], region[3] - region[1]
    if wanted.resize == "stretch":
        size = wanted.width, wanted.height
    else:
        ratio = min(wanted.width / width, wanted.height / height)
        size = max(1, int(width * ratio)), max(1, int(height * ratio))
    at = (0, 0)
    if wanted.anchor == "centre":
        at = (wanted.width - size[0]) // 2, (wanted.height - size[1]) // 2
    return Placement(region, (size[0] / width, size[1] / height), at), size


def wanted_size(width: int, height: int, wanted: Input, tiles: int) -> tuple[int, int]:
    """The width and height, in pixels, to decode an image to, for the input and for tiles."""
    _, size = place((0, 0, width, height), wanted)
    return int(size[0] * tiles * MARGIN), int(size[1] * tiles * MARGIN)


def prepare(picture: Picture, region: Box, wanted: Input) -> tuple[NDArray[np.generic], Placement]:
    """Cut out, resize and normalise.

    Returns:
        The input with its batch dimension, and its placement in the image.
    """
    placement, size = place(region, wanted)
    cut = picture.image.resize(
        size, Image.Resampling.BILINEAR, box=picture.part(region), reducing_gap=_REDUCING_GAP
    )
    if size != (wanted.width, wanted.height):
        canvas = Image.new("RGB", (wanted.width, wanted.height), (wanted.fill,) * 3)
        canvas.paste(cut, placement.at)
        cut = canvas
    return normalise(np.asarray(cut), wanted), placement


def normalise(pixels: NDArray[np.uint8], wanted: Input) -> NDArray[np.generic]:
    """From uint8 RGB `[height, width, 3]` to the input's channels, layout and values."""
    values: NDArray[np.generic] = pixels[..., ::-1] if wanted.channels == "bgr" else pixels
    if wanted.dtype == "float32":
        std = np.array(wanted.std, np.float32)
        scale, offset = np.float32(wanted.scale) / std, np.array(wanted.mean, np.float32) / std
        levels = values.astype(np.float32)
        values = levels if wanted.takes_raw_pixels else levels * scale - offset
    if wanted.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None])
