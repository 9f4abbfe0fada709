"""One set of limits, and the same numbers wherever they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from blindgate.imaging.limits import DEFAULT_LIMITS, MAX_BODY_BYTES, ImageLimits
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


def test_photos_of_phones_and_cameras_are_within_the_limits() -> None:
    for width, height in [(8160, 6144), (8192, 6144), (9248, 6936), (9504, 6336)]:
        assert width * height <= DEFAULT_LIMITS.max_pixels
    assert DEFAULT_LIMITS.max_pixels >= 20_000 * 3_000  # a panorama
    assert DEFAULT_LIMITS.max_side >= 20_000


def test_the_limits_are_32_mib_64_megapixels_and_a_side_of_a_browsers_canvas() -> None:
    assert DEFAULT_LIMITS.as_mapping() == {
        "max_bytes": 33_554_432,
        "max_pixels": 67_108_864,
        "max_side": 32_767,
    }


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        # 4 MiB, 12 bytes a pixel, and the file twice or JPEG's rows of blocks.
        (ImageLimits(1000, 2000, 968), 4_194_304 + 24_000 + 1_536_000),
        (ImageLimits(1_000_000, 2000, 968), 4_194_304 + 24_000 + 2_000_000),
        (DEFAULT_LIMITS, 4_194_304 + 805_306_368 + 67_108_864),
    ],
)
def test_any_image_within_the_limits_takes_so_much_memory(limits: ImageLimits, size: int) -> None:
    assert limits.decoded_bytes == size


def test_the_gateway_takes_what_the_enclave_takes() -> None:
    assert Settings().max_body == DEFAULT_LIMITS.max_bytes == MAX_BODY_BYTES


def test_the_documentation_has_the_numbers_of_the_code() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    for number in (
        DEFAULT_LIMITS.max_bytes,
        DEFAULT_LIMITS.max_pixels,
        DEFAULT_LIMITS.max_side,
    ):
        assert f"| {number:,}" in text


def test_limits_survive_a_problem() -> None:
    limits = ImageLimits(1000, 2000, 300)
    assert ImageLimits.from_mapping({**limits.as_mapping(), "detail": "…"}) == limits
    assert ImageLimits.from_mapping({"max_bytes": 1, "max_pixels": "2", "max_side": 3}) is None
    assert ImageLimits.from_mapping({}) is None
    assert ImageLimits.from_mapping({"max_bytes": 1, "max_side": 3}) is None
    assert ImageLimits.from_mapping({"max_bytes": 1, "max_pixels": None, "max_side": 3}) is None
    assert "at most 2,000 pixels, 300 on a side, and 1,000 bytes" in limits.describe()
