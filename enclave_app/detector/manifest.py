"""A model's manifest, `model.toml`: what the model is and how to feed and read it.

The SHA-256 of the file as it stands is what attestation binds. It pins the ONNX file by its own
SHA-256, and so the weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from blindgate import strict_toml
from blindgate.detections import MAX_DETECTIONS, Label
from enclave_app.detector.errors import ManifestError
from enclave_app.detector.labels import LABEL_SETS

if TYPE_CHECKING:
    from pathlib import Path

#: A manifest with every label spelled out has some kilobytes.
MAX_MANIFEST_BYTES: Final = 256 * 1024
#: Broken rules that an error lists: more than a person mends before trying again.
MAX_RULES: Final = 20
MANIFEST_FILE: Final = "model.toml"
ONNX_FILE: Final = "model.onnx"

Family = Literal["boxes", "yolox", "nanodet", "detr"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Triple = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Licence(_Strict):
    """Under what terms the weights come."""

    #: An SPDX identifier.
    spdx: Text
    #: The file beside the manifest that has to travel with the model.
    notice: FileName | None = None
    holder: Text | None = None


class WheelSource(_Strict):
    """A file inside a package of the Python index, pinned twice."""

    kind: Literal["wheel"]
    #: `name==version`.
    requirement: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._+-]+$")]
    sha256: Sha256
    #: The wheel's size, for the progress bar.
    bytes: Annotated[int, Field(gt=0)]
    member: Text
    member_sha256: Sha256
    #: Where the file came from before it was packaged.
    origin: Text | None = None


class FileSource(_Strict):
    """A file that the user brings; the ONNX model itself unless the build says otherwise."""

    kind: Literal["file"]
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0)]
    origin: Text | None = None


class ModelDerived(_Strict):
    """Another model of the registry."""

    kind: Literal["model"]
    name: Name
    onnx_sha256: Sha256


Source = Annotated[WheelSource | FileSource | ModelDerived, Field(discriminator="kind")]


class ExportBuild(_Strict):
    """The ONNX file comes from the source through an exporter beside the manifest."""

    kind: Literal["export"]
    exporter: FileName


class QuantizeBuild(_Strict):
    """The ONNX file is another model in 8-bit integers, with the value ranges measured before."""

    kind: Literal["quantize"]
    ranges: FileName
    ranges_sha256: Sha256
    #: Layers that stay in floats, because accuracy would suffer.
    leave: tuple[Literal["heads", "depthwise"], ...] = ()
    #: The tensor up to which the images of a batch are looked at one by one.
    stem: Text | None = None


class CopyBuild(_Strict):
    """The source is the ONNX file."""

    kind: Literal["copy"]


Build = Annotated[ExportBuild | QuantizeBuild | CopyBuild, Field(discriminator="kind")]


class Input(_Strict):
    """How a picture becomes the model's input: value = (pixel * scale - mean) / std."""

    #: Of the graph's image input; the graph's first input if left out.
    name: Text | None = None
    width: Annotated[int, Field(ge=16, le=2048)]
    height: Annotated[int, Field(ge=16, le=2048)]
    layout: Literal["nchw", "nhwc"]
    dtype: Literal["float32", "uint8"]
    channels: Literal["rgb", "bgr"]
    scale: Annotated[float, Field(gt=0)] = 1.0
    #: In the order of `channels`.
    mean: Triple = (0.0, 0.0, 0.0)
    std: Annotated[Triple, Field()] = (1.0, 1.0, 1.0)
    #: `stretch` changes the proportions, `letterbox` keeps them and fills what is left.
    resize: Literal["stretch", "letterbox"]
    #: Where a letterboxed picture lies.
    anchor: Literal["top-left", "centre"] = "top-left"
    #: Grey level of what a letterboxed picture leaves free.
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    #: An integer input `[1, 2]` that wants the picture's width and height, as official RT-DETR
    #: and D-FINE exports have it; it is given those of the input.
    size_input: Text | None = None
    #: How many images one run may take, if so many wait: above 1 where it is faster than one by
    #: one, and only if the graph's first dimension is free.
    batch: Annotated[int, Field(ge=1, le=8)] = 1

    @model_validator(mode="after")
    def _bytes_are_raw(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be above 0")
        if self.dtype == "uint8" and not self.takes_raw_pixels:
            raise ValueError(
                "a uint8 input takes pixels as they are: leave out scale, mean and std"
            )
        return self

    @property
    def takes_raw_pixels(self) -> bool:
        """Whether there is nothing to compute."""
        return self.scale == 1 and not any(self.mean) and self.std == (1, 1, 1)


class Outputs(_Strict):
    """Names of the graph's outputs; what is left out is found by its shape or usual name."""

    boxes: Text | None = None
    scores: Text | None = None
    classes: Text | None = None
    logits: Text | None = None
    #: `boxes` family: which image of a batch each row belongs to, from 0.
    images: Text | None = None
    #: `boxes` family: the order of a box's coordinates and their unit.
    order: Literal["yxyx", "xyxy"] = "xyxy"
    units: Literal["relative", "pixels"] = "pixels"


class Thresholds(_Strict):
    """What the model's answers are cut to when the client does not say."""

    score: Annotated[float, Field(ge=0, le=1)]
    #: Two boxes of one class that overlap more than this are one object.
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.6
    max_detections: Annotated[int, Field(ge=1, le=MAX_DETECTIONS)] = 100


class Cpu(_Strict):
    """What the processor must have, and which model beside this one serves where it has not."""

    needs: tuple[Literal["int8-dot"], ...] = ()
    otherwise: Name | None = None


class Measured(_Strict):
    """Accuracy as somebody measured it: for people, nothing reads it."""

    on: Text
    ap: Annotated[float, Field(ge=0, le=1)]
    ap_50: Annotated[float, Field(ge=0, le=1)] | None = None
    base_ap: Annotated[float, Field(ge=0, le=1)] | None = None
    speedup: Annotated[float, Field(gt=0)] | None = None


#: What a family's published weights expect, so that a manifest need not repeat it.
_INPUT_PRESETS: Final[dict[str, dict[str, object]]] = {
    "boxes": {"layout": "nhwc", "dtype": "uint8", "channels": "rgb", "resize": "stretch"},
    "yolox": {
        "layout": "nchw", "dtype": "float32", "channels": "bgr",
        "resize": "letterbox", "anchor": "top-left", "fill": 114,
    },
    "nanodet": {
        "layout": "nchw", "dtype": "float32", "channels": "bgr",
        "resize": "letterbox", "anchor": "centre",
        "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395),
    },
    "detr": {
        "layout": "nchw", "dtype": "float32", "channels": "rgb", "resize": "stretch",
        "scale": 1 / 255,
    },
}  # fmt: skip


class Manifest(_Strict):
    """A model's manifest."""

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,31}$")]
    title: Text | None = None
    family: Family
    #: Class names by number; an empty one stands at a number that no class has.
    labels: Annotated[tuple[str, ...], FailFast()]
    #: Of the ONNX file. Only a file that is being checked may lack it.
    onnx_sha256: Sha256 | None = None
    licence: Licence
    source: Source | None = None
    build: Build | None = None
    input: Input
    outputs: Outputs = Outputs()
    thresholds: Thresholds
    cpu: Cpu = Cpu()
    measured: Measured | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_the_family_s_input(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("input"), dict):
            return data
        # of an unknown family only that is reported, not also all that a known one would give
        preset = _INPUT_PRESETS.get(str(data.get("family")), _INPUT_PRESETS["boxes"])
        return {**data, "input": {**preset, **data["input"]}}

    @field_validator("labels", mode="before")
    @classmethod
    def _named_set(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in LABEL_SETS:
                raise ValueError(f"no label set {value!r}; there are {', '.join(LABEL_SETS)}")
            return LABEL_SETS[value]
        return value

    @field_validator("labels")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [_checked_label(name) for name in value if name]
        if not names or len(set(names)) != len(names) or len(value) > MAX_CLASSES:
            raise ValueError(f"labels must be 1 to {MAX_CLASSES} different names")
        return value

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that an answer can hold, in the order of their numbers."""
        return tuple(name for name in self.labels if name)


#: Objects365 has 365 classes, LVIS 1203, Open Images 601.
MAX_CLASSES: Final = 2000


class _LabelRule(BaseModel):
    label: Label


def _checked_label(name: str) -> str:
    try:
        return _LabelRule(label=name).label
    except ValidationError:
        raise ValueError(
            f"{name!r} is no label: 1 to 64 characters without commas and control characters"
        ) from None


@dataclass(frozen=True)
class ManifestFile:
    """A manifest, and the digest that attestation binds."""

    manifest: Manifest
    digest: bytes


def read_manifest(path: Path) -> ManifestFile:
    """Read and check a manifest.

    Args:
        path: The `model.toml`.

    Returns:
        The manifest, and the SHA-256 of the file's bytes.

    Raises:
        ManifestError: The file is not there, or one line for each rule that it breaks.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from None
    return ManifestFile(parse_manifest(data, str(path)), hashlib.sha256(data).digest())


def parse_manifest(data: bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Parse a manifest's bytes; `where` is what an error calls them.

    Raises:
        ManifestError: One line for each rule that they break, MAX_RULES of them at most.
    """
    try:
        return Manifest.model_validate(strict_toml.decode(data, max_bytes=MAX_MANIFEST_BYTES))
    except strict_toml.TomlError as error:
        raise ManifestError(f"{where} is {error}") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        rules = [
            f"{where}: {'.'.join(str(part)[:64] for part in each['loc']) or 'manifest'}: "
            f"{each['msg'].removeprefix('Value error, ')}"
            for each in found[:MAX_RULES]
        ]
        if len(found) > MAX_RULES:
            rules.append(f"{where}: {len(found) - MAX_RULES} further mistakes")
        raise ManifestError("\n".join(rules)) from None
