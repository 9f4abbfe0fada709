"""Sources of images: paths, bytes, open files, PIL images and arrays, and what is sent of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from blindgate.client.errors import InvalidPhoto, UnsupportedSource
from blindgate.envelope.recognise import is_envelope
from blindgate.imaging import formats
from blindgate.routes import OCTETS

if TYPE_CHECKING:
    from blindgate.detections import Detections
    from blindgate.errors import BlindgateError

#: Called with the number of images done and their total; None if that is not known.
Progress = Callable[[int, int | None], None]


class PilImage(Protocol):
    """An image of Pillow, which need not be installed."""

    @property
    def mode(self) -> str:
        """The pixel format, such as `RGB`."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""


class PixelArray(Protocol):
    """A numpy array of pixels; numpy need not be installed."""

    @property
    def dtype(self) -> Any:
        """The type of its elements: uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width, and 3 (RGB) or 4 (RGBA) for colour."""


#: An image: its path, its bytes, an open binary file, a PIL image or a numpy array. Files and bytes
#: may be encrypted.
PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PilImage | PixelArray
)

#: Modes of PIL that PNG stores without conversion.
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """The result for one image of many.

    Attributes:
        photo: The source, as it was passed in.
        detections: The objects found, or None if it failed.
        error: Why it failed, or None.
    """

    photo: PhotoSource
    detections: Detections | None
    error: BlindgateError | OSError | None = None

    def unwrap(self) -> Detections:
        """The detections; raises the error if there is one."""
        if self.detections is None:
            assert self.error is not None  # noqa: S101 - exactly one of the two is set
            raise self.error
        return self.detections


def read(photo: PhotoSource) -> bytes:
    """The bytes of an image, or of an encrypted one.

    Raises:
        OSError: The file cannot be read.
        UnsupportedSource: It is not one of the types of `PhotoSource`.
        InvalidPhoto: It is empty, or of a format that the enclave does not open.
    """
    content = _bytes_of(photo)
    if not content:
        raise InvalidPhoto("the photo is empty")
    if not is_envelope(content) and (name := formats.other_format(content)):
        raise InvalidPhoto(
            f"the photo is {name[0].lower()}{name[1:]}, which the enclave does not open: save it "
            f"as {formats.ACCEPTED} first"
        )
    return content


def _bytes_of(photo: object) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    kind = f"{type(photo).__module__}.{type(photo).__qualname__}"
    # By name, so that neither library needs to be installed.
    if any(each.__module__ == "PIL.Image" for each in type(photo).__mro__):
        return _png(photo)
    if kind == "numpy.ndarray":
        return _png_of_array(photo)
    if callable(read := getattr(photo, "read", None)):
        content = read()
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        raise UnsupportedSource("a photo must be opened in binary mode: open(path, 'rb')")
    raise UnsupportedSource(
        "a photo is given as a path, bytes, an open binary file, a PIL image or a numpy array, "
        f"not as {kind.removeprefix('builtins.')}"
    )


def _png(image: Any) -> bytes:
    """The stored pixels of a PIL image as PNG: lossless, without metadata."""
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    # Fast rather than small: the file exists for one request.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _png_of_array(array: Any) -> bytes:
    shape = array.shape
    is_grey = len(shape) == 2
    if str(array.dtype) != "uint8" or not (is_grey or (len(shape) == 3 and shape[2] in (3, 4))):
        raise UnsupportedSource(
            "an array of pixels must be uint8 and height x width, or height x width x 3 (RGB) or "
            f"4 (RGBA), not {array.dtype} of shape {tuple(shape)}"
        )
    if 0 in shape:
        raise InvalidPhoto("the array of pixels is empty")
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UnsupportedSource(
            "an array of pixels needs Pillow: pip install pillow, or give a file or its bytes"
        ) from None
    return _png(Image.fromarray(array))


def media_type(content: bytes) -> str:
    """The media type, by the first bytes; `application/octet-stream` unless it is an image."""
    found = formats.image_format(content)
    return f"image/{found}" if found else OCTETS


def check_several(many: Iterable[PhotoSource], concurrency: int) -> None:
    """Check the arguments of `detect_many`.

    Raises:
        UnsupportedSource: It is one image: paths and bytes are iterable too.
        ValueError: The concurrency is below 1.
    """
    if isinstance(many, str | bytes | bytearray | memoryview | os.PathLike):
        raise UnsupportedSource("detect_many takes several photos; for one there is detect")
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")


def progress_reporter(
    many: Iterable[PhotoSource], on_progress: Progress | None
) -> Callable[[], None]:
    """A function that counts images done and passes the count to the caller's callback."""
    total = len(many) if isinstance(many, Sized) else None
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    return report
