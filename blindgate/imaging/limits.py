"""How large an image may be: the one place where these numbers are defined.

The gateway's and the worker's defaults, the console and the documentation take them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self

#: Bytes of a request: a 50-megapixel phone photo is 10 to 25 MB. Padding takes up to a sixteenth,
#: so a sealed photo may have 30 MiB.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
#: Pixels: phones that save 64 megapixels write 9248 x 6936 = 64,144,128, the largest full-frame
#: cameras 61 million.
MAX_PIXELS: Final = 64 * 1024 * 1024
#: Pixels of one side: the largest canvas of a browser, and wider than panoramas of phones.
MAX_SIDE: Final = 32_767

#: What decoding takes, in bytes. Pillow keeps colours in four bytes a pixel.
PIXEL_BYTES: Final = 4
#: The decoder of WebP is one for animations: two canvases, and the pixels that it returns.
WEBP_PIXEL_BYTES: Final = 3 * PIXEL_BYTES
#: Pieces of the file, strips of rows, and the state of the decoder.
OVERHEAD_BYTES: Final = 4 * 1024 * 1024
#: libjpeg keeps some rows of blocks of each component, and as many rows of pixels.
JPEG_COLUMN_BYTES: Final = 256
#: Blocks that fill up the last unit of 32 x 32 samples: four components of 16 bits.
_JPEG_UNIT_BYTES: Final = 32 * 4 * 2


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The limits of one image. The enclave's measured configuration may set others.

    Attributes:
        max_bytes: Size of the file.
        max_pixels: Width times height.
        max_side: Width, and height.
    """

    max_bytes: int = MAX_BODY_BYTES
    max_pixels: int = MAX_PIXELS
    max_side: int = MAX_SIDE

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self | None:
        """The limits from the members of a problem, or from the values of a link header.

        Returns:
            None if one of them is missing or not a number.
        """
        found = {name: values.get(name) for name in cls.__slots__}
        numbers = {name: value for name, value in found.items() if isinstance(value, int)}
        return cls(**numbers) if len(numbers) == len(found) else None

    def as_mapping(self) -> dict[str, int]:
        """The limits by name, as members of a problem."""
        return asdict(self)

    def describe(self) -> str:
        """The limits as a sentence for people."""
        return (
            f"An image may have at most {self.max_pixels:,} pixels, {self.max_side:,} on a side, "
            f"and {self.max_bytes:,} bytes."
        )

    @property
    def decoded_bytes(self) -> int:
        """How much memory decoding takes for any image within the limits, at most.

        That is 12 bytes a pixel: a WebP, or a progressive JPEG with four components at full
        resolution that is decoded without reduction.
        """
        jpeg = (4 * JPEG_COLUMN_BYTES + 2 * _JPEG_UNIT_BYTES) * (self.max_side + 32)
        most = WEBP_PIXEL_BYTES * self.max_pixels + max(2 * self.max_bytes, jpeg)
        return OVERHEAD_BYTES + most


DEFAULT_LIMITS: Final = ImageLimits()
