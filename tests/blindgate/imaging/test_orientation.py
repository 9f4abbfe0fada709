from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.imaging.orientation import read_orientation
from tests.blindgate.imaging.files import exif


def tiff(order: str, tag: int, kind: int, value: int) -> bytes:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
    return magic + struct.pack(order + "IH", 8, 1) + entry


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(orientation: int, order: str) -> None:
    assert read_orientation(tiff(order, 0x0112, 3, orientation)) == orientation


def test_what_pillow_writes_is_read() -> None:
    assert read_orientation(exif(6).tobytes()) == 6


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        tiff("<", 0x0112, 3, 9),
        tiff("<", 0x0112, 3, 0),
        tiff("<", 0x0112, 4, 6),
        tiff("<", 0x0110, 3, 6),
        tiff("<", 0x0112, 3, 6)[:-3],
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_a_block_that_does_not_say_means_upright(block: bytes) -> None:
    assert read_orientation(block) == 1


@given(st.binary(max_size=200))
def test_any_bytes_give_an_orientation(block: bytes) -> None:
    assert 1 <= read_orientation(b"II*\0" + block) <= 8
