"""How large an image may be: the one place where these numbers are defined.

The gateway's and the worker's defaults, the console and the documentation take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Bytes of a request: a 50-megapixel phone photo is 10 to 25 MB. Padding takes up to a sixteenth,
#: so a sealed photo may have 30 MiB.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
#: Pixels: phones that save 64 megapixels write 9248 x 6936 = 64,144,128, the largest full-frame
#: cameras 61 million.
MAX_PIXELS: Final = 64 * 1024 * 1024
#: Pixels of one side: the largest canvas of a browser, and wider than panoramas of phones.
MAX_SIDE: Final = 32_767


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

    def describe(self) -> str:
        """The limits as a sentence for people."""
        return (
            f"An image may have {self.max_pixels:,} pixels, {self.max_side:,} on each side, "
            f"and {self.max_bytes:,} bytes"
        )


DEFAULT_LIMITS: Final = ImageLimits()
