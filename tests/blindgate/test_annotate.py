from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from blindgate.annotate import annotate, colour_of
from blindgate.detections import Box, Detection, Detections, ImageSize, ModelRef
from blindgate.imaging.decode import decode, inspect, upright_size
from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.limits import DEFAULT_LIMITS
from tests.blindgate.imaging.corpus import ACCEPTED
from tests.blindgate.imaging.files import GREEN, encoded, exif, quadrants

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


def unmarked(image: Image.Image | bytes, width: int, height: int) -> Image.Image:
    return annotate(image, answer(width, height))


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_it_is_drawn_on_the_pixels_that_were_analysed(name: str) -> None:
    """Whatever the format, the orientation, the depth and the transparency."""
    file = ACCEPTED[name]()
    header = inspect(file, DEFAULT_LIMITS)
    analysed = decode(header, upright_size(header))
    size = analysed.width, analysed.height
    drawn = unmarked(file, *size).resize(size, Image.Resampling.NEAREST)
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(analysed.image)).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_boxes_of_a_turned_image_lie_where_they_were_found(kind: str) -> None:
    """Green is right above in what was stored, and right below after a quarter turn."""
    file = encoded(quadrants(800, 600), kind, exif=exif(6), quality=95)
    drawn = annotate(file, answer(600, 800, (301, 401, 590, 790)))
    assert drawn.size == (600, 800)
    assert drawn.getpixel((301, 600)) == colour_of("airplane")
    inside = drawn.getpixel((450, 600))
    assert isinstance(inside, tuple)
    assert max(abs(a - b) for a, b in zip(inside, GREEN, strict=True)) < 20


def test_an_opened_image_of_16_bits_is_not_white() -> None:
    levels = np.full((700, 700), 0x5A5A, np.uint16)
    assert unmarked(Image.fromarray(levels), 700, 700).getpixel((9, 9)) == (0x5A,) * 3


def test_an_opened_image_with_alpha_lies_over_white() -> None:
    image = Image.new("LA", (700, 700), (40, 0))
    image.putpixel((0, 0), (40, 255))
    drawn = unmarked(image, 700, 700)
    assert drawn.getpixel((9, 9)) == (255, 255, 255)
    assert drawn.getpixel((0, 0)) == (40, 40, 40)


def test_what_the_enclave_does_not_decode_is_not_drawn_on() -> None:
    with pytest.raises(ImageRejected):
        annotate(encoded(quadrants(80, 60), "GIF"), answer(80, 60))
