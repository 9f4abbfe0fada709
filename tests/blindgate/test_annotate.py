from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from blindgate.annotate import annotate, colour_of
from blindgate.detections import Box, Detection, Detections, ImageSize, ModelRef

GREY = (128, 128, 128)


def answer(width: int, height: int, *boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(
        model=ModelRef(name="test", version="1"),
        image=ImageSize(width=width, height=height),
        detections=tuple(
            Detection(
                label="airplane",
                class_id=5,
                score=0.87,
                box=Box(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3]),
            )
            for box in boxes
        ),
    )


def test_boxes_are_drawn_in_the_label_s_colour() -> None:
    drawn = annotate(Image.new("RGB", (1000, 800), GREY), answer(1000, 800, (100, 200, 500, 600)))
    assert drawn.size == (1000, 800)
    for place in ((100, 400), (499, 400), (300, 600), (300, 201)):
        assert drawn.getpixel(place) == colour_of("airplane")
    assert drawn.getpixel((300, 400)) == GREY
    assert drawn.getpixel((800, 700)) == GREY


def test_the_exif_orientation_is_applied() -> None:
    stored = Image.new("RGB", (800, 600), GREY)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    stored.save(file, "JPEG", exif=exif)
    drawn = annotate(file.getvalue(), answer(600, 800, (10, 500, 300, 790)))
    assert drawn.size == (600, 800)
    assert drawn.getpixel((150, 789)) == colour_of("airplane")


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (3, 900), (640, 480), (4000, 3000)])
def test_labels_are_legible_at_any_size(size: tuple[int, int]) -> None:
    width, height = size
    drawn = annotate(
        Image.new("RGB", size, GREY), answer(*size, (0, 0, width, height), (0, 0, 1, 1))
    )
    assert max(drawn.size) >= 640
    assert drawn.width / drawn.height == width / height


def test_a_label_at_the_border_stays_inside() -> None:
    blank = Image.new("RGB", (900, 700), GREY)
    for box in ((0, 0, 80, 60), (850, 0, 900, 50), (850, 660, 900, 700), (0, 650, 60, 700)):
        painted = np.asarray(annotate(blank, answer(900, 700, box))) != 128
        # the label's ground: an area much larger than the box's outline
        ground = (np.asarray(annotate(blank, answer(900, 700, box))) == colour_of("airplane")).all(
            2
        )
        assert ground.sum() > 900
        assert painted.any(axis=2)[1:-1, 1:-1].any()


def test_a_given_picture_is_not_changed() -> None:
    picture = Image.new("RGB", (700, 700), GREY)
    annotate(picture, answer(700, 700, (10, 10, 600, 600)))
    assert picture.getextrema() == ((128, 128),) * 3


def test_colours_are_stable_and_differ() -> None:
    assert colour_of("cat") == colour_of("cat")
    assert len({colour_of(label) for label in ("cat", "dog", "person", "car", "bird")}) == 5
