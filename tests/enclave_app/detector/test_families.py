from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from blindgate.detections import DetectOptions
from enclave_app.detector.errors import ModelError
from enclave_app.detector.families import boxes, detr, nanodet, yolox
from models.cache import model_folder
from tests.enclave_app.detector import reference
from tests.enclave_app.detector.manifests import manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from enclave_app.detector import Detector

#: Low enough that dozens of boxes of each photo are compared.
LOW = DetectOptions(min_score=0.05, max_detections=300)
SOME = DetectOptions(min_score=0.15, max_detections=300)


def image_of(photo: bytes) -> Image.Image:
    with Image.open(io.BytesIO(photo)) as image:
        return image.convert("RGB")


def test_boxes_match_the_reference(default_detector: Detector, photos: list[bytes]) -> None:
    path = model_folder("ssd-mobilenet-v2-coco") / "model.onnx"
    for photo in photos:
        expected = reference.boxes(path, image_of(photo), 0.05)
        reference.assert_same(default_detector.detect(photo, LOW), expected)


def test_yolox_matches_the_reference(
    yolox_detector: Detector, photos: list[bytes], vector: Callable[[str], Path]
) -> None:
    limit = yolox_detector.manifest.thresholds.nms_iou
    for photo in photos[:2]:
        path = vector("yolox_nano.onnx")
        expected = reference.yolox(path, image_of(photo), 0.05, limit)
        assert expected
        reference.assert_same(yolox_detector.detect(photo, LOW), expected)


def test_nanodet_matches_the_reference(
    nanodet_detector: Detector, photos: list[bytes], vector: Callable[[str], Path]
) -> None:
    limit = nanodet_detector.manifest.thresholds.nms_iou
    for photo in photos[:2]:
        path = vector("nanodet_m_416.onnx")
        expected = reference.nanodet(path, image_of(photo), 0.15, limit)
        assert expected
        reference.assert_same(nanodet_detector.detect(photo, SOME), expected)


def test_detr_matches_a_loop_over_queries() -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(-1, 2, (1, 20, 3)).astype(np.float32)
    centres = rng.uniform(0.1, 0.9, (1, 20, 4)).astype(np.float32)
    read = detr.read({"logits": logits, "pred_boxes": centres}, manifest("detr"), 0.4)
    expected = set()
    for query in range(20):
        for number in range(3):
            score = 1 / (1 + np.exp(-float(logits[0, query, number])))
            if score >= 0.4:
                x, y, width, height = (float(value) * 64 for value in centres[0, query])
                corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                expected.add((number, round(score, 4), tuple(round(side, 3) for side in corners)))
    assert {
        (int(number), round(float(score), 4), tuple(round(float(side), 3) for side in box))
        for box, score, number in zip(read.boxes, read.scores, read.classes, strict=True)
    } == expected


def test_detr_finds_its_outputs_by_shape_or_by_name() -> None:
    logits, centres = np.zeros((1, 5, 4), np.float32), np.full((1, 5, 4), 0.5, np.float32)
    four = manifest("detr", labels=["a", "b", "c", "d"])
    with pytest.raises(ModelError, match="name them in the manifest"):
        detr.read({"l": logits, "b": centres}, four, 0.1)
    named = manifest("detr", labels=["a", "b", "c", "d"], outputs={"logits": "l", "boxes": "b"})
    assert len(detr.read({"l": logits, "b": centres}, named, 0.1)) == 20


def test_boxes_in_pixels_and_in_parts() -> None:
    outputs: dict[str, NDArray[np.generic]] = {
        "boxes": np.array([[[0.25, 0.5, 0.75, 1.0]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
        "labels": np.array([[1]], np.int64),
    }
    parts = manifest(outputs={"order": "yxyx", "units": "relative"})
    assert boxes.read(outputs, parts, 0.5).boxes.tolist() == [[32, 16, 64, 48]]
    assert boxes.read(outputs, manifest(), 0.5).boxes.tolist() == [[0.25, 0.5, 0.75, 1.0]]
    assert len(boxes.read(outputs, manifest(), 0.95)) == 0


def test_outputs_of_another_family_are_explained() -> None:
    outputs = {"output": np.zeros((1, 84, 85), np.float32)}
    with pytest.raises(ModelError, match=r"no output boxes or detection_boxes; the graph has out"):
        boxes.read(outputs, manifest(), 0.5)
    with pytest.raises(
        ModelError, match=r"gives one output \[1, 84, 8\], this graph \[\[1, 84, 85"
    ):
        yolox.read(outputs, manifest("yolox"), 0.5)
    with pytest.raises(ModelError, match="a NanoDet head gives"):
        nanodet.read(outputs, manifest("nanodet"), 0.5)
    with pytest.raises(ModelError, match="a DETR head gives"):
        detr.read(outputs, manifest("detr"), 0.5)
    uneven: dict[str, NDArray[np.generic]] = {
        "boxes": np.zeros((2, 4)),
        "scores": np.zeros(3),
        "classes": np.zeros(2),
    }
    with pytest.raises(ModelError, match="2 boxes, 3 scores and 2 classes do not fit"):
        boxes.read(uneven, manifest(), 0.5)


def test_a_certain_distance_is_that_distance() -> None:
    logits = np.full((1, 4, 8), -50, np.float32)
    logits[0, range(4), (0, 3, 5, 7)] = 50
    found = nanodet.expected_distances(logits.reshape(1, 32))
    assert found.round(6).tolist() == [[0, 3, 5, 7]]
