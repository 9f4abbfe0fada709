"""Padding: what the length of a sealed message still says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.detections import MAX_DETECTIONS, Box, Detection, Detections, ImageSize, ModelRef
from blindgate.sealing import bhttp, padding


def answer(count: int) -> bytes:
    """An answer as long as a COCO detector can make it."""
    found = Detection(
        label="baseball glove",
        class_id=88,
        score=0.12345678901234567,
        box=Box(
            x_min=1234.1234567890123, y_min=1234.1234567890123,
            x_max=1234.1234567890123, y_max=1234.1234567890123,
        ),
    )  # fmt: skip
    answer = Detections(
        model=ModelRef(name="ssd-mobilenet-v2-coco", version="1.0.0"),
        image=ImageSize(width=12000, height=9000),
        detections=(found,) * count,
    )
    return bhttp.Response(200, (("content-type", "application/json"),), answer.to_json()).encode()


def test_answers_for_any_number_of_objects_have_one_size() -> None:
    sizes = {padding.answer_size(len(answer(count))) for count in (0, 1, 20, 100, MAX_DETECTIONS)}
    assert sizes == {padding.ANSWER_BUCKETS[0]}


def test_an_answer_over_the_largest_bucket_is_refused() -> None:
    largest = padding.ANSWER_BUCKETS[-1]
    assert padding.answer_size(largest) == largest
    with pytest.raises(ValueError, match="largest"):
        padding.answer_size(largest + 1)


@given(st.integers(0, 1 << 40))
def test_requests_grow_by_less_than_an_eighth(length: int) -> None:
    padded = padding.request_size(length)
    assert length <= padded <= max(padding.SMALLEST_REQUEST, length * 1.12)
    assert padding.request_size(padded) == padded


def test_photos_of_nearly_one_size_become_alike() -> None:
    assert len({padding.request_size(1_000_000 + extra) for extra in range(1000)}) <= 2


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        (0, 1024),
        (1, 1024),
        (1024, 1024),
        (1025, 1088),
        (1088, 1088),
        (1089, 1152),
        (2048, 2048),
        (2049, 2176),
        (65_535, 65_536),
        (65_536, 65_536),
        (65_537, 67_584),
        (1_000_000, 1_015_808),
        (33_554_432, 33_554_432),
    ],
)
def test_requests_have_the_sizes_of_padme(length: int, padded: int) -> None:
    """By hand from the paper's §4: of E + 1 bits, the last E - (floor(log2 E) + 1) are zero."""
    assert padding.request_size(length) == padded


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        (0, 65_536),
        (65_536, 65_536),
        (65_537, 131_072),
        (131_072, 131_072),
        (1_048_577, 2_097_152),
        (8_388_609, 16_777_216),
        (16_777_216, 16_777_216),
    ],
)
def test_responses_have_the_documented_sizes(length: int, padded: int) -> None:
    """docs/protocol.md: 64 KiB, then twice as much each, up to 16 MiB."""
    assert padding.answer_size(length) == padded
