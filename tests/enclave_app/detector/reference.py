"""Straightforward versions of what the detector does, written apart from it: loops, no tricks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from pathlib import Path

    from blindgate.detections import Detections


@dataclass(frozen=True)
class Found:
    number: int
    score: float
    box: tuple[float, float, float, float]


def run(path: Path, tensor: Any) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    result: list[Any] = session.run(None, {session.get_inputs()[0].name: tensor})
    return result


def upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def iou(left: tuple[float, ...], right: tuple[float, ...]) -> float:
    across = min(left[2], right[2]) - max(left[0], right[0])
    down = min(left[3], right[3]) - max(left[1], right[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)]
    return across * down / (sum(areas) - across * down)


def greedy(found: list[Found], limit: float) -> list[Found]:
    kept: list[Found] = []
    for each in sorted(found, key=lambda one: -one.score):
        if all(each.number != other.number or iou(each.box, other.box) <= limit for other in kept):
            kept.append(each)
    return kept


def boxes(path: Path, image: Image.Image, min_score: float) -> list[Found]:
    pixels = np.asarray(image.resize((300, 300), Image.Resampling.BILINEAR))
    corners, scores, classes, _ = run(path, pixels[None])
    found = []
    for (y1, x1, y2, x2), score, number in zip(corners, scores, classes, strict=True):
        if score >= min_score:
            sides = [
                min(max(float(value), 0.0), 1.0) * side
                for value, side in zip((x1, y1, x2, y2), (*image.size, *image.size), strict=True)
            ]
            found.append(Found(int(number), float(score), (sides[0], sides[1], sides[2], sides[3])))
    return found


def yolox(path: Path, image: Image.Image, min_score: float, limit: float) -> list[Found]:
    ratio = min(416 / image.width, 416 / image.height)
    size = int(image.width * ratio), int(image.height * ratio)
    canvas = Image.new("RGB", (416, 416), (114, 114, 114))
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR), (0, 0))
    pixels = np.asarray(canvas)[:, :, ::-1].astype(np.float32).transpose(2, 0, 1)
    (rows,) = run(path, np.ascontiguousarray(pixels[None]))
    found, index = [], 0
    for stride in (8, 16, 32):
        for row in range(416 // stride):
            for column in range(416 // stride):
                values = [float(value) for value in rows[0, index]]
                index += 1
                number = max(range(80), key=lambda at: values[5 + at])
                score = values[4] * values[5 + number]
                if score < min_score:
                    continue
                x, y = (values[0] + column) * stride, (values[1] + row) * stride
                width, height = math.exp(values[2]) * stride, math.exp(values[3]) * stride
                corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                found.append(Found(number, score, _back(corners, image, size, (0, 0))))
    return greedy(found, limit)


def nanodet(path: Path, image: Image.Image, min_score: float, limit: float) -> list[Found]:
    ratio = min(416 / image.width, 416 / image.height)
    size = int(image.width * ratio), int(image.height * ratio)
    at = (416 - size[0]) // 2, (416 - size[1]) // 2
    canvas = Image.new("RGB", (416, 416), (0, 0, 0))
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR), at)
    pixels = np.asarray(canvas)[:, :, ::-1].astype(np.float64)
    pixels = (pixels - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    outputs = run(path, tensor)
    found = []
    for level, stride in enumerate((8, 16, 32)):
        scores, distances, columns = outputs[level][0], outputs[level + 3][0], 416 // stride
        for cell, number in np.argwhere(scores >= min_score).tolist():
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            reach = []
            for side in range(4):
                weights = [math.exp(float(value)) for value in distances[cell, side * 8 :][:8]]
                mean = sum(bin_ * weight for bin_, weight in enumerate(weights)) / sum(weights)
                reach.append(mean * stride)
            corners = (x - reach[0], y - reach[1], x + reach[2], y + reach[3])
            box = _back(corners, image, size, at)
            found.append(Found(number, float(scores[cell, number]), box))
    return greedy(found, limit)


def _back(
    corners: tuple[float, ...], image: Image.Image, size: tuple[int, int], at: tuple[int, int]
) -> tuple[float, float, float, float]:
    across, down = size[0] / image.width, size[1] / image.height
    x = [min(max((value - at[0]) / across, 0.0), float(image.width)) for value in corners[::2]]
    y = [min(max((value - at[1]) / down, 0.0), float(image.height)) for value in corners[1::2]]
    return x[0], y[0], x[1], y[1]


def assert_same(detections: Detections, expected: list[Found]) -> None:
    """The same objects, with boxes to 1e-4 of the picture's side and scores to 1e-4."""
    assert len(detections.detections) == len(expected)
    width, height = detections.image.width, detections.image.height
    rest = list(expected)
    for found in detections.detections:
        box = (found.box.x_min, found.box.y_min, found.box.x_max, found.box.y_max)
        match = next(
            one
            for one in rest
            if one.number == found.class_id
            and abs(one.score - found.score) < 1e-4
            and max(abs(a - b) for a, b in zip(box, one.box, strict=True))
            < 1e-4 * min(width, height)
        )
        rest.remove(match)
