"""What a client asks of the detector and what it gets: the answer's public schema.

The same models describe the open HTTP answer, the inner answer of a sealed request and the
OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, ValidationError

#: No model has more than this many useful objects in one picture, and 300 bound the answer's size.
MAX_DETECTIONS: Final = 300
#: Enough for every COCO class at once.
MAX_CLASSES: Final = 100
#: The longest class name that a filter or a manifest may hold, in characters.
MAX_LABEL: Final = 64
#: Faults that one response lists: a client that makes more of them makes one of them often.
MAX_FAULTS: Final = 20
#: Characters of the name of a parameter in a response; the longest of ours has 40.
MAX_PLACE: Final = 100
#: Names and values of a query that are looked at; all parameters and 100 single labels have 105.
MAX_QUERY_FIELDS: Final = 128

Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LABEL, pattern=r"^[^\x00-\x1f,]+$"),
]


#: A label as a client asks for it: spaces around it are not part of it.
WantedLabel = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=MAX_LABEL, pattern=r"^[^\x00-\x1f,]+$"
    ),
]


class AnswerFormat(StrEnum):
    """The shape of the JSON answer."""

    JSON = "json"
    SAMPLE = "sample"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DetectOptions(_Frozen):
    """What a client may ask of one detection. Everything left out is the model's own default."""

    min_score: Annotated[
        float | None,
        Field(ge=0, le=1, description="Leave out objects that score less than this, 0 to 1."),
    ] = None
    max_detections: Annotated[
        int | None,
        Field(ge=1, le=MAX_DETECTIONS, description="Give at most this many objects, best first."),
    ] = None
    classes: Annotated[
        tuple[WantedLabel, ...] | None,
        Field(
            min_length=1,
            max_length=MAX_CLASSES,
            description="Give only objects with one of these labels; `GET /v1/models` lists them.",
        ),
    ] = None
    tiles: Annotated[
        int | None,
        Field(
            ge=1,
            le=3,
            description=(
                "Look at the whole picture and at tiles x tiles overlapping parts of it: finds "
                "smaller objects, for 1 + tiles x tiles passes of the detector."
            ),
        ),
    ] = None
    format: Annotated[
        AnswerFormat,
        Field(description="`json`, or `sample` for the shape of the AWS Nitro Enclaves sample."),
    ] = AnswerFormat.JSON

    @property
    def passes(self) -> int:
        """Passes of the detector that this asks for, however large the image turns out to be."""
        return 1 if self.tiles in (None, 1) else 1 + self.tiles**2

    @classmethod
    def from_query(cls, query: Sequence[tuple[str, str]]) -> DetectOptions:
        """Read the options from the decoded names and values of a query string.

        `classes` may come several times and may hold several labels with commas between them.

        Raises:
            pydantic.ValidationError: A parameter is unknown, comes twice or is out of bounds.
        """
        values: dict[str, Any] = {}
        if not query:
            return _DEFAULTS
        query = query[:MAX_QUERY_FIELDS]
        for name, value in query:
            if name == "classes":
                values.setdefault(name, []).extend(split_labels(value))
            elif name in values:
                values[name] = [values[name], value]  # no field takes a list: refused by its name
            else:
                values[name] = value
        return cls.model_validate(values)


def split_labels(text: str) -> list[str]:
    """The labels of a text with commas between them; no more than show that they are too many."""
    return text.split(",", MAX_CLASSES + 1)[: MAX_CLASSES + 1]


#: What a client asks who says nothing: the usual case, which need not be validated each time.
_DEFAULTS: Final = DetectOptions()


def describe_faults(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong with each parameter, for the `errors` member of an invalid-request problem.

    Returns:
        `{"parameter", "message"}` for each fault, `MAX_FAULTS` at most. Values are left out: they
        are the caller's. So are long names, which may be too.
    """
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {"parameter": _place(fault["loc"]), "message": fault["msg"]}
        for fault in faults[:MAX_FAULTS]
    ]


def _place(parts: tuple[int | str, ...]) -> str:
    place = ".".join(map(str, parts))
    return place if len(place) <= MAX_PLACE else f"{place[:MAX_PLACE]}…"


class Fault(_Frozen):
    """What is wrong with one parameter.

    Attributes:
        parameter: Its name.
        message: What is wrong with it, without its value.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    parameter: Annotated[str, Field(max_length=2 * MAX_PLACE)]
    message: Annotated[str, Field(max_length=1000)]


class ModelRef(_Frozen):
    """The detector that gave an answer."""

    name: Annotated[str, Field(examples=["ssd-mobilenet-v2-coco"])]
    version: Annotated[str, Field(examples=["1.0.0"])]


class ImageSize(_Frozen):
    """Size of the upright image (EXIF orientation applied), in pixels."""

    width: Annotated[int, Field(gt=0, examples=[3994])]
    height: Annotated[int, Field(gt=0, examples=[3235])]


class Box(_Frozen):
    """An axis-aligned box in pixels of the upright image; the origin is its top left corner."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Detection(_Frozen):
    """One object found."""

    label: Annotated[str, Field(description="The class's stable name.", examples=["airplane"])]
    class_id: Annotated[int, Field(description="The class's number in the model's manifest.")]
    score: Annotated[float, Field(ge=0, le=1, description="The model's confidence.")]
    box: Box


#: Characters of the longest number: 17 digits, a point, an exponent of three digits; no sign,
#: since nothing in a response is negative.
LONGEST_NUMBER: Final = 23
#: What surrounds the numbers and the label of one detection, in the longer of the two shapes.
_AROUND_DETECTION: Final = len(
    '{"label":,"class_id":12345,"score":,"box":{"x_min":,"y_min":,"x_max":,"y_max":}},'
)
#: The model, the size of the image, and what holds all together: names have 128 characters.
_AROUND_DETECTIONS: Final = 1024


def largest_json(most: int, label: int) -> int:
    """Bytes of the longest JSON response with `most` detections, whatever they are.

    Args:
        most: How many detections.
        label: Bytes of the longest label as JSON writes it, with its quotes.
    """
    return _AROUND_DETECTIONS + most * (_AROUND_DETECTION + 5 * LONGEST_NUMBER + label)


def longest_label(labels: Iterable[str]) -> int:
    """Bytes of the longest of some labels as JSON writes it, with its quotes."""
    return max((len(json.dumps(label)) for label in labels), default=2)


class Detections(_Frozen):
    """The answer to one image: the objects found, best first."""

    model: ModelRef
    image: ImageSize
    # One fault suffices: a list of them takes hundreds of times the memory of what it describes.
    detections: Annotated[tuple[Detection, ...], FailFast()]

    def to_sample(self) -> dict[str, Any]:
        """The answer in the shape of the AWS Nitro Enclaves object detection sample.

        Returns:
            `{"objects_detected": [{"name", "score", "detection_box"}]}` with the score as an
            integer of 0 to 100 and the box as `[ymin, xmin, ymax, xmax]` in 0 to 1.
        """
        width, height = self.image.width, self.image.height
        return {
            "objects_detected": [
                {
                    "name": found.label,
                    "score": round(found.score * 100),
                    "detection_box": [
                        found.box.y_min / height,
                        found.box.x_min / width,
                        found.box.y_max / height,
                        found.box.x_max / width,
                    ],
                }
                for found in self.detections
            ]
        }

    def to_json(self, answer_format: AnswerFormat = AnswerFormat.JSON) -> bytes:
        """The answer as UTF-8 JSON in the shape that was asked for."""
        if answer_format is AnswerFormat.SAMPLE:
            return json.dumps(self.to_sample(), separators=(",", ":")).encode()
        return self.model_dump_json().encode()
