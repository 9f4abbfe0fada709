from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blindgate.imaging.decode import Picture
from enclave_app.detector.manifest import Input
from enclave_app.detector.preprocess import normalise, place, prepare, wanted_size
from tests.blindgate.imaging.files import quadrants
from tests.enclave_app.detector.manifests import manifest


def picture(width: int, height: int) -> Picture:
    image = quadrants(width, height)
    return Picture(image, (0, 0, width, height), width, height)


def wanted(family: str = "boxes", **changes: object) -> Input:
    return manifest(family, input={"width": 64, "height": 32} | changes).input


def test_stretching_fills_the_input() -> None:
    tensor, placement = prepare(picture(100, 100), (0, 0, 100, 100), wanted())
    assert tensor.shape == (1, 32, 64, 3)
    assert tensor.dtype == np.uint8
    assert tensor[0, 0, 0].tolist() == [220, 20, 20]
    assert tensor[0, -1, -1].tolist() == [255, 255, 255]
    assert placement.scale == (0.64, 0.32)


@pytest.mark.parametrize(("anchor", "at"), [("top-left", (0, 0)), ("centre", (16, 0))])
def test_letterboxing_keeps_the_proportions(anchor: str, at: tuple[int, int]) -> None:
    tensor, placement = prepare(
        picture(100, 100), (0, 0, 100, 100), wanted(resize="letterbox", anchor=anchor, fill=9)
    )
    assert placement.at == at
    assert placement.scale == (0.32, 0.32)
    row = tensor[0, 16, :, 0].tolist()
    assert row.count(9) == 32
    assert row[at[0] : at[0] + 32].count(9) == 0


def test_values_channels_and_layout() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[...] = (10, 20, 30)
    assert normalise(pixels, wanted("yolox"))[0, :, 0, 0].tolist() == [30, 20, 10]
    scaled = normalise(pixels, wanted("detr"))[0, :, 0, 0]
    assert scaled.tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])
    imagenet = wanted("detr", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert normalise(pixels, imagenet)[0, :, 0, 0].tolist() == pytest.approx(
        [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
        abs=1e-5,
    )


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["stretch", "letterbox"]),
    st.sampled_from(["top-left", "centre"]),
)
def test_the_way_back_undoes_the_way_there(
    width: int, height: int, resize: str, anchor: str
) -> None:
    region = (0.0, 0.0, float(width), float(height))
    placement, size = place(region, wanted(resize=resize, anchor=anchor))
    left, top = placement.at
    corners = np.array([[left, top, left + size[0], top + size[1]]], np.float32)
    back = placement.to_picture(corners)[0].tolist()
    assert back == pytest.approx([0, 0, width, height], rel=1e-5, abs=1e-3)


def test_boxes_end_at_the_region_s_borders() -> None:
    placement, _ = place((100, 50, 200, 150), wanted())
    outside = np.array([[-20, -20, 900, 900]], np.float32)
    assert placement.to_picture(outside).tolist() == [[100, 50, 200, 150]]


def test_a_region_of_a_reduced_picture_is_cut_where_it_lies() -> None:
    whole = quadrants(800, 400)
    small = Picture(whole.resize((100, 50)), (0, 0, 100, 50), 800, 400)
    tensor, _ = prepare(small, (400, 0, 800, 200), wanted())
    assert np.all(tensor[0, 4:-4, 4:-4] == (20, 200, 20))


def test_how_large_a_picture_must_be_decoded() -> None:
    assert wanted_size(4000, 3000, wanted(), 1) == (80, 40)
    assert wanted_size(4000, 3000, wanted(), 2) == (160, 80)
    assert wanted_size(4000, 2000, wanted(resize="letterbox"), 1) == (80, 40)
    assert wanted_size(1, 5000, wanted(resize="letterbox"), 1) == (1, 40)


def test_extreme_proportions_are_looked_at() -> None:
    for size in ((1, 3000), (3000, 1), (1, 1)):
        image = Image.new("RGB", size)
        whole = Picture(image, (0, 0, *size), *size)
        for resize in ("stretch", "letterbox"):
            tensor, _ = prepare(whole, (0, 0, *size), wanted(resize=resize))
            assert tensor.shape == (1, 32, 64, 3)
