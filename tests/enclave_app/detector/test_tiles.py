from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blindgate.detections import DetectOptions
from enclave_app.detector.candidates import Candidates
from enclave_app.detector.tiles import SHARED, merge, regions
from tests.enclave_app.detector.reference import iou

if TYPE_CHECKING:
    from blindgate.imaging.decode import Box
    from enclave_app.detector import Detector

#: The published answer of the AWS sample, [ymin, xmin, ymax, xmax] in 0..1.
AIRPLANES = (
    (0.0555, 0.3354, 0.2335, 0.5220),
    (0.4427, 0.1616, 0.6115, 0.3450),
    (0.6213, 0.3023, 0.7856, 0.4816),
    (0.2518, 0.2466, 0.4288, 0.4350),
    (0.8132, 0.4445, 0.9692, 0.6223),
)
WHOLE, UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT = regions(1000, 1000, 2)


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Candidates:
    return Candidates(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def merged(**seen: Candidates) -> Candidates:
    places: dict[str, Box] = {
        "whole": WHOLE,
        "upper_left": UPPER_LEFT,
        "upper_right": UPPER_RIGHT,
        "lower_left": LOWER_LEFT,
        "lower_right": LOWER_RIGHT,
    }
    return merge([(place, seen.get(name, found())) for name, place in places.items()], 0.6)


@pytest.mark.parametrize("tiles", [2, 3])
def test_tiles_cover_the_picture_and_overlap(tiles: int) -> None:
    whole, parts = regions(1000, 700, tiles)[0], regions(1000, 700, tiles)[1:]
    assert list(whole) == [0, 0, 1000, 700]
    assert len(parts) == tiles * tiles
    assert list(parts[0][:2]) == [0, 0]
    assert list(parts[-1][2:]) == [1000, 700]
    for left, right in pairwise(parts[:tiles]):
        assert left[2] - right[0] == pytest.approx(SHARED * 1000)


def test_one_tile_and_tiny_pictures_are_looked_at_whole() -> None:
    assert regions(1000, 700, 1) == [(0, 0, 1000, 700)]
    assert regions(20, 700, 2) == [(0, 0, 20, 700)]
    assert regions(1, 1, 3) == [(0, 0, 1, 1)]


def test_an_object_in_the_overlap_is_one_object() -> None:
    """Both upper tiles hold it whole: the better view counts."""
    box = (450.0, 100.0, 550.0, 180.0)
    result = merged(upper_left=found((box, 0.7, 1)), upper_right=found((box, 0.8, 1)))
    assert result.boxes.tolist() == [list(box)]
    assert result.scores.tolist() == pytest.approx([0.8])


def test_an_object_cut_by_a_border_is_not_cut_in_two() -> None:
    """Too long for either tile, missed in the whole picture: its pieces meet in the overlap."""
    left = (200.0, 100.0, UPPER_LEFT[2], 180.0)
    right = (UPPER_RIGHT[0], 98.0, 800.0, 181.0)
    result = merged(upper_left=found((left, 0.7, 1)), upper_right=found((right, 0.6, 1)))
    assert result.boxes.tolist() == [[200, 98, 800, 181]]
    assert result.scores.tolist() == pytest.approx([0.7])


def test_an_object_cut_by_both_borders_is_one_object() -> None:
    box = (300.0, 300.0, 700.0, 700.0)
    pieces = {
        name: found(
            (
                (
                    max(box[0], place[0]),
                    max(box[1], place[1]),
                    min(box[2], place[2]),
                    min(box[3], place[3]),
                ),
                0.5,
                2,
            )
        )
        for name, place in (
            ("upper_left", UPPER_LEFT),
            ("upper_right", UPPER_RIGHT),
            ("lower_left", LOWER_LEFT),
            ("lower_right", LOWER_RIGHT),
        )
    }
    assert merged(**pieces).boxes.tolist() == [list(box)]


def test_pieces_of_what_the_whole_picture_shows_go() -> None:
    large = (50.0, 50.0, 950.0, 900.0)
    result = merged(
        whole=found((large, 0.9, 1)),
        upper_left=found(((50.0, 50.0, UPPER_LEFT[2], UPPER_LEFT[3]), 0.95, 1)),
        lower_right=found(((LOWER_RIGHT[0], LOWER_RIGHT[1], 950.0, 900.0), 0.8, 1)),
    )
    assert result.boxes.tolist() == [list(large)]


def test_pieces_of_different_classes_stay_apart() -> None:
    left, right = (200.0, 100.0, UPPER_LEFT[2], 180.0), (UPPER_RIGHT[0], 98.0, 800.0, 181.0)
    result = merged(upper_left=found((left, 0.7, 1)), upper_right=found((right, 0.6, 2)))
    assert len(result) == 2


def test_neighbours_that_do_not_meet_stay_two_objects() -> None:
    left = (300.0, 100.0, UPPER_LEFT[2], 180.0)
    right = (UPPER_RIGHT[0], 300.0, 700.0, 380.0)
    result = merged(upper_left=found((left, 0.7, 1)), upper_right=found((right, 0.6, 1)))
    assert len(result) == 2


def test_an_object_at_the_picture_s_own_border_is_whole() -> None:
    box = (0.0, 0.0, 100.0, 80.0)
    result = merged(upper_left=found((box, 0.7, 1)), whole=found((box, 0.3, 1)))
    assert result.scores.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("tiles", [2, 3])
def test_all_five_airplanes_are_found_for_certain(
    int8_detector: Detector, default_detector: Detector, air_show: bytes, tiles: int
) -> None:
    for detector in (int8_detector, default_detector):
        seen = detector.detect(air_show, DetectOptions(tiles=tiles, classes=("airplane",)))
        assert len(seen.detections) == 5
        assert min(one.score for one in seen.detections) >= 0.8
        width, height = seen.image.width, seen.image.height
        for top, left, bottom, right in AIRPLANES:
            known = (left * width, top * height, right * width, bottom * height)
            assert any(
                iou(known, (one.box.x_min, one.box.y_min, one.box.x_max, one.box.y_max)) >= 0.7
                for one in seen.detections
            )
