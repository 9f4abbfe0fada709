"""From an uploaded file to upright RGB pixels, without trusting the file.

How unusual pictures become RGB:

- Transparent pixels lie over white, as on a page.
- 16-bit samples keep their upper half; grey is grey in all three channels.
- CMYK and YCCK JPEG files are taken as Adobe writes them, inverted, as browsers do.
- Of an animation the first frame counts.
- Colour profiles are not applied: the detectors were trained without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, cast

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from enclave_app.detector.errors import ImageRejected
from enclave_app.detector.header import HeaderError, read_header
from enclave_app.detector.orientation import (
    FROM_BOTTOM,
    FROM_RIGHT,
    SIDEWAYS,
    UPRIGHT,
    read_orientation,
)
from enclave_app.detector.progressive import without_detail
from enclave_app.view_file import ViewFile

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from enclave_app.detector.header import Header
    from enclave_app.detector.limits import Limits

#: The least part of its size at which a JPEG file can be decoded: one eighth.
LEAST: Final = 8
#: What is unpacked at once: eight times as much as Pillow does, since each further piece is joined
#: with what the one before left over and waits for the interpreter's lock.
_BLOCK: Final = 512 * 1024
#: Pillow keeps colour pixels in four bytes.
_BYTES_A_PIXEL: Final = 4
_WHITE: Final = (255, 255, 255)


class _Jpeg(JpegImageFile):
    """A JPEG file whose EXIF block Pillow leaves alone: `orientation` reads what we need of it."""

    def getexif(self) -> Image.Exif:
        """None, whatever the file says."""
        return Image.Exif()


_OPENERS: Final[dict[str, type[JpegImageFile | PngImageFile | WebPImageFile]]] = {
    "jpeg": _Jpeg,
    "png": PngImageFile,
    "webp": WebPImageFile,
}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """An upright picture. The pixels may be fewer than the picture has: `box` says which."""

    #: Mode RGB.
    image: Image.Image
    #: Where in `image` the picture lies: left, top, right, bottom. A JPEG that was decoded at
    #: an eighth of its size ends within its last pixel.
    box: Box
    #: Size of the whole upright picture, in pixels.
    width: int
    height: int

    def part(self, region: Box) -> Box:
        """Where a region of the whole picture lies in `image`."""
        left, top, right, bottom = self.box
        across, down = (right - left) / self.width, (bottom - top) / self.height
        return (
            left + region[0] * across,
            top + region[1] * down,
            left + region[2] * across,
            top + region[3] * down,
        )


def inspect(data: bytes | memoryview, limits: Limits) -> Header:
    """Read a picture's header and check its size, before memory is taken.

    Raises:
        ImageRejected: It is no JPEG, PNG or WebP file, visibly damaged, or over a limit.
    """
    if len(data) > limits.max_bytes:
        raise ImageRejected
    try:
        header = read_header(data)
    except HeaderError:
        raise ImageRejected from None
    width, height = header.width, header.height
    if not (0 < width <= limits.max_side and 0 < height <= limits.max_side):
        raise ImageRejected
    if width * height > limits.max_pixels:
        raise ImageRejected
    return header


def decoded_bytes(header: Header, wanted: tuple[int, int]) -> int:
    """About how much memory decoding takes at its peak, from the header alone.

    Args:
        header: From `inspect`.
        wanted: As for `decode`.
    """
    reduction = _reduction(header, _as_stored(wanted, read_orientation(header.exif)))
    pixels = header.width * header.height // reduction**2
    # as decoded, and once more converted or turned upright
    return header.working_bytes + 2 * pixels * _BYTES_A_PIXEL


def decode(data: bytes | memoryview, header: Header, wanted: tuple[int, int]) -> Picture:
    """Decode a picture.

    Args:
        data: The file.
        header: Its header, from `inspect`.
        wanted: Width and height, upright, that suffice: a JPEG file is decoded at a half, a
            quarter or an eighth of its size if both are still reached, which is faster.

    Raises:
        ImageRejected: Whatever is wrong with it.
    """
    wanted = _as_stored(wanted, read_orientation(header.exif))
    reduction = _reduction(header, wanted)
    try:
        if header.progressive and reduction == LEAST:
            data = without_detail(bytes(data))
        with (
            ViewFile(data) as source,
            _OPENERS[header.format](cast("IO[bytes]", source)) as file,
        ):
            file.decodermaxblock = _BLOCK
            return _upright(file, header, wanted, reduction)
    except Exception:  # noqa: BLE001 - damaged files make Pillow raise nearly anything
        raise ImageRejected from None


def _as_stored(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def _reduction(header: Header, wanted: tuple[int, int]) -> int:
    """What `draft` will divide the size by; 1 for other formats than JPEG."""
    if header.format != "jpeg":
        return 1
    most = min(header.width // max(wanted[0], 1), header.height // max(wanted[1], 1))
    return next((by for by in (LEAST, 4, 2) if most >= by), 1)


def _upright(file: ImageFile, header: Header, wanted: tuple[int, int], reduction: int) -> Picture:
    if file.size != (header.width, header.height):
        raise ImageRejected
    if reduction > 1:
        file.draft(file.mode, wanted)
    file.load()
    # other formats may have the EXIF block behind the image data
    exif = header.exif if header.format == "jpeg" else file.info.get("exif", b"")
    orientation = read_orientation(exif)
    if -(-header.width // reduction) != file.width or -(-header.height // reduction) != file.height:
        raise ImageRejected
    image = _rgb(file)
    across, down = header.width / reduction, header.height / reduction
    width, height = header.width, header.height
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if orientation in SIDEWAYS:
        across, down, width, height = down, across, height, width
    left = image.width - across if orientation in FROM_RIGHT else 0.0
    top = image.height - down if orientation in FROM_BOTTOM else 0.0
    return Picture(image, (left, top, left + across, top + down), width, height)


def _rgb(file: ImageFile) -> Image.Image:
    """Pixels as RGB in a picture of its own."""
    if file.mode.startswith("I"):  # 16-bit grey, which Pillow would clip and not scale
        samples = np.asarray(file, np.uint16) >> 8
        return Image.fromarray(samples.astype(np.uint8)).convert("RGB")
    if "transparency" in file.info or file.mode in ("RGBA", "LA", "PA"):
        layer = file.convert("RGBA")
        image = Image.new("RGB", file.size, _WHITE)
        image.paste(layer, mask=layer.getchannel("A"))
        return image
    return file.convert("RGB")
