"""Photos in, detections out: what the SDK asks the enclave and how it reads the answer."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

from pydantic import ValidationError

from blindgate.client.errors import (
    AnswerRejected,
    InvalidOptions,
    InvalidPhoto,
    UnsupportedSource,
)
from blindgate.detections import Detections, DetectOptions
from blindgate.envelope.recognise import is_envelope
from blindgate.failures import faults_of
from blindgate.imaging import formats

if TYPE_CHECKING:
    from blindgate.client.messages import Answer
    from blindgate.errors import BlindgateError

DETECTIONS_PATH: Final = "/v1/detections"


class PilImage(Protocol):
    """An image of Pillow, which need not be installed."""

    @property
    def mode(self) -> str:
        """How its pixels are coded, such as `RGB`."""

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


#: A photo: its path, its bytes, an open binary file, a PIL image or a numpy array. Files and bytes
#: may be encrypted.
PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PilImage | PixelArray
)

#: Modes of PIL that a PNG file holds as they are.
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What became of one photo of many.

    Attributes:
        photo: As it was given.
        detections: What was found, or None if it failed.
        error: Why it failed, or None.
    """

    photo: PhotoSource
    detections: Detections | None
    error: BlindgateError | OSError | None = None

    def unwrap(self) -> Detections:
        """The detections, or the error raised."""
        if self.detections is None:
            assert self.error is not None  # noqa: S101 - one of the two is always there
            raise self.error
        return self.detections


def read(photo: PhotoSource) -> bytes:
    """The bytes of a photo.

    Raises:
        OSError: The file cannot be read.
        UnsupportedSource: It is none of the kinds of `PhotoSource`.
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
    # By their names, so that neither library needs to be there.
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
    """A PIL image as its pixels lie, without loss and without metadata."""
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    # Fast: the file lives for one request.
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
    """The type by the first bytes; an envelope and anything else are octets."""
    found = formats.image_format(content)
    return f"image/{found}" if found else "application/octet-stream"


def options(
    min_score: float | None,
    max_detections: int | None,
    classes: Sequence[str] | str | None,
    tiles: int | None,
) -> DetectOptions:
    """The options as the schema checks them, before anything is sent.

    Args:
        min_score: See `Blindgate.detect`, and so are the others.
        max_detections: As `min_score`.
        classes: Labels; a text with commas holds several. Spaces around a label do not count.
        tiles: As `min_score`.

    Raises:
        InvalidOptions: One of them is out of range.
    """
    try:
        return DetectOptions(
            min_score=min_score,
            max_detections=max_detections,
            classes=None if classes is None else _labels(classes),
            tiles=tiles,
        )
    except ValidationError as error:
        raise InvalidOptions(faults_of(error) or str(error)) from None


def _labels(classes: Sequence[str] | str) -> tuple[str, ...]:
    given = classes.split(",") if isinstance(classes, str) else list(classes)
    if not all(isinstance(each, str) for each in given):
        raise InvalidOptions("classes: labels are texts")
    labels = tuple(each.strip() for each in given)
    if not labels:
        raise InvalidOptions("classes: the list is empty; leave it out for objects of all labels")
    if "" in labels:
        raise InvalidOptions("classes: a label is empty")
    return tuple(dict.fromkeys(labels))


def several(many: Iterable[PhotoSource], concurrency: int) -> Iterable[PhotoSource]:
    """What `detect_many` was given, if it is several photos.

    Raises:
        UnsupportedSource: It is one photo: a path and bytes can be iterated, too.
        ValueError: The concurrency is below 1.
    """
    if isinstance(many, str | bytes | bytearray | memoryview | os.PathLike):
        raise UnsupportedSource("detect_many takes several photos; for one there is detect")
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    return many


def target(chosen: DetectOptions) -> str:
    """Path and query of a detection with these options."""
    query: dict[str, object] = chosen.model_dump(exclude_none=True, exclude_defaults=True)
    if chosen.classes is not None:
        query["classes"] = ",".join(chosen.classes)
    return DETECTIONS_PATH + (f"?{urlencode(query)}" if query else "")


def detections(answer: Answer, *, sealed_only: bool = True) -> Detections:
    """Read the answer to a detection.

    Args:
        answer: What came back.
        sealed_only: Refuse one that did not come sealed.

    Raises:
        ProblemError: It is a problem.
        AnswerRejected: It is nothing that the schema allows, or did not come sealed.
    """
    if answer.status >= 400:
        raise answer.problem()
    if (sealed_only and not answer.sealed) or answer.status != 200:
        raise AnswerRejected(f"the answer has the unexpected status {answer.status}")
    try:
        return Detections.model_validate_json(answer.content)
    except ValidationError as error:
        # What failed to validate is the answer itself: it stays out of the message.
        raise AnswerRejected(
            f"the answer does not follow the schema in {error.error_count()} places"
        ) from None
