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
