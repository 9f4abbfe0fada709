"""Photos in, detections out: what the SDK asks the enclave and how it reads the answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlencode

from pydantic import ValidationError

from blindgate.client.errors import AnswerRejected
from blindgate.detections import Detections, DetectOptions

if TYPE_CHECKING:
    from blindgate.client.messages import Answer
    from blindgate.errors import BlindgateError

DETECTIONS_PATH: Final = "/v1/detections"

#: A photo: its path, its bytes, or an open binary file. Encrypted files are fine too.
PhotoSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
)


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
        TypeError: It is none of the kinds of `PhotoSource`.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    content = photo.read()
    if not isinstance(content, bytes):
        raise TypeError("a photo must be opened in binary mode")
    return content


def media_type(content: bytes) -> str:
    """The type by the first bytes; an envelope and anything else are octets."""
    for magic, name in _MAGIC:
        if content.startswith(magic):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def options(
    min_score: float | None,
    max_detections: int | None,
    classes: Sequence[str] | None,
    tiles: int | None,
) -> DetectOptions:
    """The options as the schema checks them, before anything is sent.

    Raises:
        ValueError: One of them is out of range.
    """
    return DetectOptions(
        min_score=min_score,
        max_detections=max_detections,
        classes=None if classes is None else tuple(classes),
        tiles=tiles,
    )


def target(chosen: DetectOptions) -> str:
    """Path and query of a detection with these options."""
    query: dict[str, object] = chosen.model_dump(exclude_none=True, exclude_defaults=True)
    if chosen.classes is not None:
        query["classes"] = ",".join(chosen.classes)
    return DETECTIONS_PATH + (f"?{urlencode(query)}" if query else "")


def detections(answer: Answer) -> Detections:
    """Read the answer to a detection.

    Raises:
        ProblemError: It is a problem.
        AnswerRejected: It is nothing that the schema allows, or did not come sealed.
    """
    if answer.status >= 400:
        raise answer.problem()
    if not answer.sealed or answer.status != 200:
        raise AnswerRejected(f"the answer has the unexpected status {answer.status}")
    try:
        return Detections.model_validate_json(answer.content)
    except ValidationError as error:
        # What failed to validate is the answer itself: it stays out of the message.
        raise AnswerRejected(
            f"the answer does not follow the schema in {error.error_count()} places"
        ) from None
