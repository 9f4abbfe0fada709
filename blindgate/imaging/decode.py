"""From an image file to upright RGB pixels, without trusting the file.

The readers of the three formats (`jpeg`, `png`, `webp`) decide what the decoders of Pillow are
given. The pixels follow these rules:

- EXIF orientation is applied, in all three formats.
- Transparent pixels lie over white, as on a page.
- 16-bit samples keep their upper half. Grey is grey in all three channels.
- CMYK and YCCK JPEG files are taken as Adobe writes them, inverted, as browsers do.
- Of an animation the first frame counts.
- Colour profiles and gamma are not applied: the detectors were trained without.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageChops, ImageOps, _webp

from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.formats import image_format
from blindgate.imaging.jpeg import JpegHeader, read_jpeg
from blindgate.imaging.limits import (
    JPEG_COLUMN_BYTES,
    OVERHEAD_BYTES,
    PIXEL_BYTES,
    WEBP_PIXEL_BYTES,
    ImageLimits,
)
from blindgate.imaging.orientation import FROM_BOTTOM, FROM_RIGHT, SIDEWAYS, UPRIGHT
from blindgate.imaging.png import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, PngHeader, read_png
from blindgate.imaging.webp import WebPHeader, read_webp

Buffer = bytes | memoryview
Box = tuple[float, float, float, float]
Size = tuple[int, int]
Checkpoint = Callable[[], None]
Header = JpegHeader | PngHeader | WebPHeader

#: The smallest part of its size at which a JPEG file can be decoded: one eighth.
LEAST: Final = 8
#: How much of a file is decoded between two looks at the deadline. JPEG: small pieces are slower,
#: since each is joined with what the one before left over. PNG: deflate can make a thousand times
#: as much of it.
_JPEG_BLOCK, _PNG_BLOCK = 512 * 1024, 64 * 1024
#: Pixels of a strip that is blended over white.
_STRIP: Final = 64 * 1024
_WHITE: Final = (255, 255, 255)
_ERRORS: Final = (OSError, ValueError, TypeError, IndexError, OverflowError, SystemError)

#: Pillow's names for the pixels of a PNG, in memory and in the file, by colour type and depth.
_PNG_MODES: Final = {
    (GREY, 1): ("1", "1"),
    (GREY, 2): ("L", "L;2"),
    (GREY, 4): ("L", "L;4"),
    (GREY, 8): ("L", "L"),
    (GREY, 16): ("L", "L;16B"),
    (RGB, 8): ("RGB", "RGB"),
    (RGB, 16): ("RGB", "RGB;16B"),
    (PALETTE, 1): ("P", "P;1"),
    (PALETTE, 2): ("P", "P;2"),
    (PALETTE, 4): ("P", "P;4"),
    (PALETTE, 8): ("P", "P"),
    (GREY_ALPHA, 8): ("LA", "LA"),
    (GREY_ALPHA, 16): ("RGBA", "LA;16B"),
    (RGB_ALPHA, 8): ("RGBA", "RGBA"),
    (RGB_ALPHA, 16): ("RGBA", "RGBA;16B"),
}
#: The lower halves of 16-bit samples, which are in the order of the other byte order.
_PNG_LOWER: Final = {GREY: ("L", "L;16"), RGB: ("RGB", "RGB;16L")}


def _go_on() -> None:
    """Let the decoding run to its end."""


@dataclass(frozen=True)
class Picture:
    """An upright image. The pixels may be fewer than the image has: `box` says which."""

    #: Mode RGB.
    image: Image.Image
    #: Where in `image` the whole image lies: left, top, right, bottom. A JPEG that was decoded at
    #: an eighth of its size ends within its last pixel.
    box: Box
    #: Size of the whole upright image, in pixels.
    width: int
    height: int

    def part(self, region: Box) -> Box:
        """Where a region of the whole image lies in `image`."""
        left, top, right, bottom = self.box
        across, down = (right - left) / self.width, (bottom - top) / self.height
        return (
            left + region[0] * across,
            top + region[1] * down,
            left + region[2] * across,
            top + region[3] * down,
        )


def read_header(data: Buffer) -> Header:
    """Read the structure of a JPEG, PNG or WebP file, without decoding and in bounded time.

    Args:
        data: The file. The header refers to parts of it.

    Raises:
        ImageRejected: It is none of the three, or damaged.
    """
    readers: dict[str | None, Callable[[Buffer], Header]] = {
        "jpeg": read_jpeg,
        "png": read_png,
        "webp": read_webp,
    }
    reader = readers.get(image_format(data))
    if reader is None:
        raise ImageRejected("not JPEG, PNG or WebP")
    try:
        header = reader(data)
    except (struct.error, IndexError):
        raise ImageRejected("truncated") from None
    if header.width < 1 or header.height < 1:
        raise ImageRejected("an image without pixels")
    return header


def inspect(data: Buffer, limits: ImageLimits) -> Header:
    """Read an image's header and check its size, before memory is taken.

    Raises:
        ImageRejected: It is not a JPEG, PNG or WebP file, or visibly damaged.
        ImageTooLarge: It is over a limit.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(limits)
    header = read_header(data)
    width, height = header.width, header.height
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise ImageTooLarge(limits)
    return header


def upright_size(header: Header) -> Size:
    """Width and height of the upright image, in pixels."""
    return _as_stored((header.width, header.height), header.orientation)


def decoded_bytes(header: Header, wanted: Size) -> int:
    """How much memory decoding takes at its peak, from the header alone.

    Args:
        header: From `inspect`.
        wanted: As for `decode`.
    """
    if isinstance(header, WebPHeader):
        file = sum(len(piece) for piece in header.pieces)
        return OVERHEAD_BYTES + 2 * file + WEBP_PIXEL_BYTES * header.width * header.height
    # two images at a time: as decoded, and converted or turned upright
    if isinstance(header, PngHeader):
        return OVERHEAD_BYTES + 2 * PIXEL_BYTES * header.width * header.height
    reduction = _reduction(header, _as_stored(wanted, header.orientation))
    pixels = -(-header.width // reduction) * -(-header.height // reduction)
    rows = JPEG_COLUMN_BYTES * header.components * -(-header.width // reduction)
    as_decoded = header.coefficient_bytes + PIXEL_BYTES * pixels
    return OVERHEAD_BYTES + rows + max(as_decoded, 2 * PIXEL_BYTES * pixels)


def decode(header: Header, wanted: Size, checkpoint: Checkpoint = _go_on) -> Picture:
    """Decode an image.

    Args:
        header: From `inspect`. The file's memory must not have changed since.
        wanted: Width and height, upright, that suffice: a JPEG file is decoded at a half, a
            quarter or an eighth of its size if both are still reached, which is faster.
        checkpoint: Called between pieces of the file; what it raises ends the decoding. A WebP file
            is one piece.

    Raises:
        ImageRejected: Whatever is wrong with it.
    """
    reduction = 1
    checkpoint()
    if isinstance(header, JpegHeader):
        reduction = _reduction(header, _as_stored(wanted, header.orientation))
        image = _decode_jpeg(header, reduction, checkpoint)
    elif isinstance(header, PngHeader):
        image = _decode_png(header, checkpoint)
    else:
        image = _decode_webp(header)
    checkpoint()
    return _upright(image, header, reduction)


def decode_whole(data: Buffer) -> Image.Image:
    """All pixels of an image file, upright, in mode RGB: what the enclave sees of it.

    Raises:
        ImageRejected: The file is not an image that the enclave decodes.
    """
    header = read_header(data)
    return decode(header, upright_size(header)).image


def whole_rgb(image: Image.Image) -> Image.Image:
    """An image that Pillow opened, by the same rules: upright, over white, in mode RGB.

    Args:
        image: Not changed. Files are better read by `decode_whole`: Pillow does not keep exactly
            which colour of a PNG with 2, 4 or 16 bits is transparent.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        order = "L;16B" if upright.mode.endswith("B") else "L;16"
        upper = Image.frombytes("L", upright.size, upright.tobytes(), "raw", order)
        return upper.convert("RGB")
    if upright.has_transparency_data:
        return _over_white(upright.convert("RGBA"))
    return upright.convert("RGB")


def _as_stored(size: Size, orientation: int) -> Size:
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def _reduction(header: JpegHeader, wanted: Size) -> int:
    most = min(header.width // max(wanted[0], 1), header.height // max(wanted[1], 1))
    return next((by for by in (LEAST, 4, 2) if most >= by), 1)


def _upright(image: Image.Image, header: Header, reduction: int) -> Picture:
    across, down = header.width / reduction, header.height / reduction
    width, height = header.width, header.height
    orientation = header.orientation
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if orientation in SIDEWAYS:
        across, down, width, height = down, across, height, width
    left = image.width - across if orientation in FROM_RIGHT else 0.0
    top = image.height - down if orientation in FROM_BOTTOM else 0.0
    return Picture(image, (left, top, left + across, top + down), width, height)


def _decode_jpeg(header: JpegHeader, reduction: int, checkpoint: Checkpoint) -> Image.Image:
    mode, raw = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}[header.components]
    size = -(-header.width // reduction), -(-header.height // reduction)

    def run(pieces: Iterable[Buffer]) -> Image.Image:
        blocks = _blocks(pieces, _JPEG_BLOCK)
        return _run("jpeg", mode, (raw, "", reduction, 0), size, blocks, checkpoint)

    try:
        image = run(header.pieces(reduction))
    except ImageRejected:
        # libjpeg reads on behind a complete image, and refuses what it does not know there
        if (pieces := header.until_marker()) is None:
            raise
        image = run(pieces)
    return image if mode == "RGB" else image.convert("RGB")


def _decode_png(header: PngHeader, checkpoint: Checkpoint) -> Image.Image:
    left, top, across, down = header.region
    image = _png_rgb(header, (across, down), checkpoint)
    if (across, down) == (header.width, header.height):
        return image
    canvas = Image.new("RGB", (header.width, header.height), _WHITE)
    canvas.paste(image, (left, top))
    return canvas


def _png_rgb(header: PngHeader, size: Size, checkpoint: Checkpoint) -> Image.Image:
    def run(mode: str, raw: str) -> Image.Image:
        blocks = _blocks(header.data, _PNG_BLOCK)
        return _run("zip", mode, (raw, int(header.interlaced)), size, blocks, checkpoint)

    image = run(*_PNG_MODES[header.colour, header.depth])
    if image.mode in ("LA", "RGBA"):
        return _over_white(image)
    if header.colour == PALETTE:
        image.putpalette(_palette_over_white(header.palette, header.transparency))
    elif header.transparency:
        key = struct.unpack(f">{len(header.transparency) // 2}H", header.transparency)
        image = image.convert("L") if image.mode == "1" else image
        if header.depth == 16:
            lower = run(*_PNG_LOWER[header.colour])
            _whiten(image, [(image, [v >> 8 for v in key]), (lower, [v & 255 for v in key])])
        else:
            most = (1 << header.depth) - 1
            _whiten(image, [(image, [(v & most) * 255 // most for v in key])])
    return image if image.mode == "RGB" else image.convert("RGB")


def _decode_webp(header: WebPHeader) -> Image.Image:
    with _one_error():
        decoder = _webp.WebPAnimDecoder(b"".join(header.pieces))
        size, *_, mode = decoder.get_info()
        frame = decoder.get_next()
        del decoder  # and its canvases
    if frame is None or size != (header.width, header.height):
        raise ImageRejected("damaged image data")
    if mode == "RGBX":
        return Image.frombytes("RGB", size, frame[0], "raw", "RGBX")
    return _over_white(Image.frombuffer("RGBA", size, frame[0], "raw", "RGBA", 0, 1))


def _run(
    name: str,
    mode: str,
    arguments: tuple[object, ...],
    size: Size,
    blocks: Iterable[Buffer],
    checkpoint: Checkpoint,
) -> Image.Image:
    """Run one of Pillow's decoders, as `PIL.ImageFile.ImageFile.load` does.

    Raises:
        ImageRejected: The data are damaged, or end before the last row.
    """
    image = Image.new(mode, size, None)
    decoder: Any = Image._getdecoder(mode, name, arguments)  # noqa: SLF001 - Pillow's readers are written for files from friends
    decoder.setimage(image.im, (0, 0, *size))
    left_over: Buffer = b""
    try:
        for block in blocks:
            checkpoint()
            data = bytes(left_over) + block if left_over else block
            with _one_error():
                used, error = decoder.decode(data)
            if error < 0:
                raise ImageRejected("damaged image data")
            if used < 0:
                return image
            left_over = data[used:]
    finally:
        decoder.cleanup()
    raise ImageRejected("truncated")


@contextmanager
def _one_error() -> Iterator[None]:
    """Turn the many kinds of errors that Pillow raises for damaged data into one."""
    try:
        yield
    except _ERRORS as error:
        raise ImageRejected(f"damaged image data: {error}") from None


def _blocks(pieces: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    for piece in pieces:
        for at in range(0, len(piece), size):
            yield piece[at : at + size]


def _strips(size: Size) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows that cover an image."""
    width, height = size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield (0, top, width, min(top + rows, height))


def _over_white(layer: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", layer.size, _WHITE)
    for box in _strips(layer.size):
        strip = layer.crop(box).convert("RGBA")
        canvas.paste(strip, box, strip.getchannel("A"))
    return canvas


def _palette_over_white(palette: bytes, alpha: bytes) -> bytes:
    """256 colours: a palette, blended as pixels are, and black beyond its end, as in libpng."""
    colours = Image.frombytes("RGB", (256, 1), palette.ljust(768, b"\0"))
    colours.putalpha(Image.frombytes("L", (256, 1), alpha.ljust(256, b"\xff")))
    return _over_white(colours).tobytes()


def _whiten(image: Image.Image, planes: list[tuple[Image.Image, list[int]]]) -> None:
    """Make those pixels white whose samples equal a key in all planes and channels.

    Args:
        image: Grey or RGB, changed in place.
        planes: Images of the same size, and the value of each of their channels.
    """
    white: Any = 255 if image.mode == "L" else _WHITE
    for box in _strips(image.size):
        mask = Image.new("L", (box[2], box[3] - box[1]), 255)
        for plane, key in planes:
            for channel, value in zip(plane.crop(box).split(), key, strict=True):
                equal = channel.point([255 * (sample == value) for sample in range(256)])
                mask = ImageChops.darker(mask, equal)
        image.paste(white, box, mask)
