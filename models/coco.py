"""Annotated images in COCO's format, and a detector's accuracy on them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from blindgate.detections import DetectOptions
from models.errors import FetchError
from models.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from blindgate.detections import Detections
    from models.progress import Progress

#: COCO's metrics count up to a hundred detections per image, whatever their scores.
_MOST: Final = 100
_LOWEST: Final = 0.01
#: The usual places of the annotations and the images in a folder.
_ANNOTATIONS: Final = ("instances.json", "annotations/instances_val2017.json")
_PICTURES: Final = ("images", "val2017", ".")


class DataSetError(FetchError):
    """A folder is no set of annotated images in COCO's format."""


class Finder(Protocol):
    """What is measured: `Detector.detect`, or anything like it."""

    def __call__(self, image: bytes, options: DetectOptions) -> Detections:
        """Detect objects on an image."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """COCO's average precision: over all overlaps, at two of them, and by the objects' size."""

    ap: float
    ap_50: float
    ap_75: float
    small: float
    medium: float
    large: float
    pictures: int


@dataclass(frozen=True)
class CocoSet:
    """Annotated images."""

    annotations: Path
    pictures: dict[int, Path]

    @classmethod
    def open(cls, folder: Path) -> CocoSet:
        """Find the annotations and the images in a folder.

        Raises:
            DataSetError: It holds no `instances.json`, or an image is missing.
        """
        files = [folder / name for name in _ANNOTATIONS if (folder / name).is_file()]
        if not files:
            raise DataSetError(f"{folder} holds none of {', '.join(_ANNOTATIONS)}")
        try:
            rows = json.loads(files[0].read_bytes())["images"]
            names = {int(row["id"]): str(row["file_name"]) for row in rows}
        except (ValueError, KeyError, TypeError):
            raise DataSetError(f"{files[0]} is not in COCO's format") from None
        for place in _PICTURES:
            pictures = {number: folder / place / name for number, name in names.items()}
            if pictures and all(path.is_file() for path in pictures.values()):
                return cls(files[0], pictures)
        raise DataSetError(f"{folder} does not hold all images that {files[0].name} names")


def evaluate(
    find: Finder,
    data: CocoSet,
    *,
    tiles: int = 1,
    progress: Progress = silent,
) -> Accuracy:
    """Measure a detector.

    Args:
        find: The detector; its labels must be those of the annotations.
        data: Annotated images.
        tiles: Passed on to the detector.
        progress: Called for each image.
    """
    options = DetectOptions(min_score=_LOWEST, max_detections=_MOST, tiles=tiles)
    found: dict[int, Detections] = {}
    for done, (number, path) in enumerate(sorted(data.pictures.items())):
        progress("detecting", done, len(data.pictures))
        found[number] = find(path.read_bytes(), options)
    progress("detecting", len(data.pictures), len(data.pictures))
    return score(found, data)


def score(found: dict[int, Detections], data: CocoSet) -> Accuracy:
    """Compare detections by image number with the annotations."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it works
        truth = COCO(str(data.annotations))
        numbers = {row["name"]: row["id"] for row in truth.dataset["categories"]}
        rows = [
            row
            for number, detections in found.items()
            for row in _rows(number, detections, numbers)
        ]
        if not rows:
            return Accuracy(0, 0, 0, 0, 0, 0, len(found))
        judged = COCOeval(truth, truth.loadRes(rows), "bbox")
        judged.params.imgIds = sorted(found)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    ap, ap_50, ap_75, small, medium, large = (float(value) for value in judged.stats[:6])
    return Accuracy(ap, ap_50, ap_75, small, medium, large, len(found))


def _rows(number: int, detections: Detections, categories: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": number,
            "category_id": categories[found.label],
            "bbox": [
                found.box.x_min,
                found.box.y_min,
                found.box.x_max - found.box.x_min,
                found.box.y_max - found.box.y_min,
            ],
            "score": found.score,
        }
        for found in detections.detections
        if found.label in categories
    ]
