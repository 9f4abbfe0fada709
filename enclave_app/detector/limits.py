"""How large a picture may be, before any of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one picture; the measured configuration may set others."""

    #: A 50-megapixel phone photo has up to 20 MB as JPEG.
    max_bytes: int = 24 * 1024 * 1024
    #: The main cameras of today's phones; decoded without reduction, 200 MB.
    max_pixels: int = 50_000_000
    #: Panoramas stay below it, and so does everything that a box in 32-bit floats can name
    #: to a hundredth of a pixel.
    max_side: int = 32_767
