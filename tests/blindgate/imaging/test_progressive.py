from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blindgate.imaging import jpeg
from blindgate.imaging.decode import decode, inspect
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import ImageLimits
from blindgate.imaging.orientation import UPRIGHT
from tests.blindgate.imaging.files import encoded, exif

RNG = np.random.default_rng(3)
NOISE = Image.fromarray(RNG.integers(0, 255, (60, 80, 3), np.uint8))


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return NOISE.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def without_detail(file: bytes) -> bytes:
    return b"".join(jpeg.read_jpeg(file).pieces(8))


def at_an_eighth(file: bytes) -> np.typing.NDArray[np.uint8]:
    """As Pillow alone decodes it."""
    with Image.open(io.BytesIO(file)) as image:
        image.draft(image.mode, (image.width // 8, image.height // 8))
        return np.asarray(image)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(800, 640), (801, 643), (17, 9), (3000, 2000)])
def test_the_picture_is_the_same_to_the_bit(size: tuple[int, int], subsampling: int) -> None:
    file = encoded(photo(*size), "JPEG", progressive=True, subsampling=subsampling, quality=90)
    shorter = without_detail(file)
    assert np.array_equal(at_an_eighth(shorter), at_an_eighth(file))
    if size[0] > 100:
        assert len(shorter) < len(file)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_too(mode: str) -> None:
    file = encoded(photo(320, 240, mode), "JPEG", progressive=True)
    assert np.array_equal(at_an_eighth(without_detail(file)), at_an_eighth(file))


def test_restart_intervals_too() -> None:
    file = encoded(photo(640, 480), "JPEG", progressive=True, restart_marker_blocks=7)
    assert b"\xff\xd1" in file
    assert np.array_equal(at_an_eighth(without_detail(file)), at_an_eighth(file))


def test_decoding_at_an_eighth_uses_it() -> None:
    file = encoded(photo(800, 640), "JPEG", progressive=True, exif=exif(6))
    header = inspect(file, ImageLimits())
    assert isinstance(header, jpeg.JpegHeader)
    eighth, quarter = (sum(len(piece) for piece in header.pieces(by)) for by in (8, 4))
    assert eighth < quarter / 2
    small = decode(header, (80, 100)).image
    assert small.size == (80, 100)
    with Image.open(io.BytesIO(file)) as image:
        image.draft(image.mode, (100, 80))
        assert np.array_equal(np.asarray(small), np.asarray(image.transpose(UPRIGHT[6])))


def test_a_file_cut_off_before_its_last_scan_is_refused() -> None:
    file = encoded(photo(400, 320), "JPEG", progressive=True)
    for length in range(len(file) // 10, file.rindex(b"\xff\xda"), 97):
        with pytest.raises(ImageRejected):
            decode(inspect(file[:length], ImageLimits()), (20, 20))


def test_a_file_cut_off_in_its_last_scan_is_nearly_the_same_image() -> None:
    """The last scan of libjpeg's script adds the lowest bit of the finer brightness."""
    file = encoded(photo(400, 320), "JPEG", progressive=True)
    whole = decode(inspect(file, ImageLimits()), (400, 320)).image
    last = file.rindex(b"\xff\xda")
    for length in (last + 20, (last + len(file)) // 2, len(file) - 1):
        part = decode(inspect(file[:length], ImageLimits()), (400, 320)).image
        difference = np.asarray(part).astype(int) - np.asarray(whole)
        assert np.abs(difference).mean() < 3


def test_a_file_of_several_sequential_scans_must_not_be_cut_off() -> None:
    """A part of one colour would be missing."""
    file = bytearray(encoded(photo(160, 120), "JPEG"))
    at = file.index(b"\xff\xda")
    file[at + 2 : at + 14] = struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    with pytest.raises(ImageRejected):
        inspect(bytes(file[:-2]), ImageLimits())


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_file_is_a_picture_or_one_error(data: st.DataObject) -> None:
    file = bytearray(encoded(photo(160, 120), "JPEG", progressive=True))
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(inspect(bytes(file), ImageLimits(max_pixels=1_000_000)), (10, 10))
    except (ImageRejected, ImageTooLarge):
        pass
