"""Draw what a detector found onto the picture, for people."""

from __future__ import annotations

import colorsys
import hashlib
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

from blindgate.imaging.decode import decode_whole, whole_rgb

if TYPE_CHECKING:
    from blindgate.detections import Box, Detections

#: A picture smaller than this on its longer side is drawn enlarged: text of a readable size
#: would cover it.
_LEAST_SIDE: Final = 640
#: Parts of the picture's mean side.
_TEXT: Final = 1 / 38
_LINE: Final = 1 / 260

Colour = tuple[int, int, int]


def annotate(image: Image.Image | bytes, detections: Detections) -> Image.Image:
    """Draw boxes, labels and scores.

    Args:
        image: The image that was sent. A file's bytes become the pixels that the enclave
            analysed: upright, over white, 16 bits reduced to 8. So does an opened image, as far
            as Pillow keeps what is needed for it.
        detections: The response to it.

    Returns:
        A new RGB picture, upright; a very small one enlarged.

    Raises:
        ImageRejected: The bytes are not an image that the enclave decodes.
    """
    picture = decode_whole(image) if isinstance(image, bytes) else whole_rgb(image)
    enlarged = max(1, -(-_LEAST_SIDE // max(picture.size)))
    if enlarged > 1:
        picture = picture.resize((picture.width * enlarged, picture.height * enlarged))
    # boxes count in pixels of the picture that was sent, whatever this copy's size is
    across = picture.width / detections.image.width
    down = picture.height / detections.image.height
    side = (picture.width * picture.height) ** 0.5
    font = ImageFont.load_default(max(12.0, side * _TEXT))
    line = max(2, round(side * _LINE))
    canvas = ImageDraw.Draw(picture)
    worst_first = detections.detections[::-1]  # so that the best lies on top
    for found in worst_first:
        edges = _edges(found.box, across, down)
        canvas.rectangle(edges, outline=colour_of(found.label), width=line)
    for found in worst_first:
        edges, text = _edges(found.box, across, down), f"{found.label} {found.score:.0%}"
        _write(canvas, picture.size, edges, text, font, colour_of(found.label))
    return picture


def colour_of(label: str) -> Colour:
    """A label's colour: the same in every picture, strong enough on photos."""
    seed = hashlib.sha256(label.encode()).digest()
    red, green, blue = colorsys.hls_to_rgb(seed[0] / 256, 0.45 + seed[1] / 256 * 0.15, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _edges(box: Box, across: float, down: float) -> tuple[float, float, float, float]:
    left, top = box.x_min * across, box.y_min * down
    return left, top, max(left, box.x_max * across), max(top, box.y_max * down)


def _write(
    canvas: ImageDraw.ImageDraw,
    size: tuple[int, int],
    edges: tuple[float, float, float, float],
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: Colour,
) -> None:
    """A label on its own ground, above the box or, at the picture's edge, inside it."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    pad = max(2.0, (bottom - top) / 5)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(edges[0], size[0] - width))
    y = edges[1] - height if edges[1] >= height else min(edges[1], max(0.0, size[1] - height))
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if light > 140 else (255, 255, 255)
    canvas.text((x + pad - left, y + pad - top), text, fill=ink, font=font)
