"""The EXIF orientation (JEITA CP-3451, tag 0x0112): which way up an image is.

The console reads it by the same rules: `console/src/orientation.ts`.
"""

from __future__ import annotations

import struct
from typing import Final

from PIL.Image import Transpose

#: What turns a stored image upright, by orientation; 1 is upright already.
UPRIGHT: Final = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
#: Orientations that swap width and height.
SIDEWAYS: Final = frozenset({5, 6, 7, 8})
#: Orientations whose upright image begins where the stored one ended, across and down.
FROM_RIGHT: Final = frozenset({2, 3, 6, 7})
FROM_BOTTOM: Final = frozenset({3, 4, 7, 8})

#: What is read of an EXIF block; a JPEG segment has no more.
MAX_EXIF_BYTES: Final = 65_536

_TAG: Final = 0x0112
_SHORT: Final = 3
#: Cameras write some dozens.
_MAX_ENTRIES: Final = 512


def read_orientation(exif: bytes) -> int:
    r"""Find the orientation in an EXIF block.

    Args:
        exif: The TIFF structure, with or without `Exif\0\0` before it.

    Returns:
        1 to 8; 1 if the block is empty, damaged, or does not say.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(min(entries, _MAX_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index)
            if tag == _TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
