from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blindgate.detections import Box, Detection, Detections, DetectOptions, ImageSize, ModelRef
from enclave_app.detector import Detector
from models.coco import CocoSet, DataSetError, evaluate
from models.fetch import pull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """Two pictures, one cat each; nobody opens them."""
    (tmp_path / "images").mkdir()
    boxes = {1: [10, 10, 50, 40], 2: [20, 30, 60, 60]}
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 100} for n in boxes],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 17, "bbox": box, "area": 2000, "iscrowd": 0}
            for n, box in boxes.items()
        ],
    }
    for number in boxes:
        (tmp_path / f"images/{number}.jpg").write_text(str(number))
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def answer(*boxes: tuple[float, float, float, float], label: str = "cat") -> Detections:
    return Detections(
        model=ModelRef(name="test", version="1"),
        image=ImageSize(width=100, height=100),
        detections=tuple(
            Detection(
                label=label,
                class_id=3,
                score=0.9,
                box=Box(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3]),
            )
            for box in boxes
        ),
    )


def test_perfect_answers_score_one(small_set: Path) -> None:
    truth = {b"1": answer((10, 10, 60, 50)), b"2": answer((20, 30, 80, 90))}
    asked: list[DetectOptions] = []

    def find(image: bytes, options: DetectOptions) -> Detections:
        asked.append(options)
        return truth[image]

    accuracy = evaluate(find, CocoSet.open(small_set), tiles=2)
    assert (accuracy.ap, accuracy.ap_50, accuracy.pictures) == (1, 1, 2)
    assert {(one.tiles, one.max_detections, one.min_score) for one in asked} == {(2, 100, 0.01)}


def test_half_the_objects_score_half(small_set: Path) -> None:
    truth = {b"1": answer((10, 10, 60, 50)), b"2": answer()}
    accuracy = evaluate(lambda image, _: truth[image], CocoSet.open(small_set))
    assert accuracy.ap == pytest.approx(0.5, abs=0.01)


def test_nothing_found_and_unknown_labels_score_nothing(small_set: Path) -> None:
    for found in (answer(), answer((10, 10, 60, 50), label="unicorn")):
        assert evaluate(lambda *_, found=found: found, CocoSet.open(small_set)).ap == 0


def test_a_folder_that_is_no_such_set_is_refused(small_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="holds none of"):
        CocoSet.open(tmp_path / "images")
    (small_set / "images/1.jpg").unlink()
    with pytest.raises(DataSetError, match="does not hold all images"):
        CocoSet.open(small_set)
    (small_set / "instances.json").write_text('{"images": [{}]}')
    with pytest.raises(DataSetError, match="not in COCO's format"):
        CocoSet.open(small_set)


def test_the_default_is_as_accurate_as_it_is_said_to_be(vector: Callable[[str], Path]) -> None:
    """On the set's first pictures only, the integer network keeps up with the float one."""
    data = CocoSet.open(vector("coco-mini"))
    few = CocoSet(data.annotations, dict(sorted(data.pictures.items())[:6]))
    names = ("ssd-mobilenet-v2-coco", "ssd-mobilenet-v2-coco-int8")
    plain, integer = (evaluate(Detector.load(pull(name)).detect, few).ap for name in names)
    assert plain > 0.2
    assert integer > plain - 0.02
