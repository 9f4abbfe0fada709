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


@pytest.mark.parametrize(("before", "orientation"), [(0, 6), (1, 6), (511, 6), (512, 1)])
def test_the_first_512_entries_are_looked_at(before: int, orientation: int) -> None:
    entries = struct.pack("<HHIHH", 0x0100, 3, 1, 8, 0) * before
    entries += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    block = b"II*\0" + struct.pack("<IH", 8, before + 1) + entries
    assert read_orientation(block) == orientation
    assert read_orientation(b"Exif\0\0" + block) == orientation


def test_the_first_orientation_counts_and_only_entries_that_are_counted() -> None:
    both = tiff("<", 0x0112, 3, 6) + struct.pack("<HHIHH", 0x0112, 3, 1, 8, 0)
    assert read_orientation(both[:8] + struct.pack("<H", 2) + both[10:]) == 6
    assert read_orientation(both[:8] + struct.pack("<H", 0) + both[10:]) == 1


def test_entries_may_begin_anywhere_in_the_block() -> None:
    entry = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 3, 0)
    assert read_orientation(b"MM\0*" + struct.pack(">I", 20) + bytes(12) + entry) == 3


@given(st.binary(max_size=200))
def test_any_bytes_give_an_orientation(block: bytes) -> None:
    assert 1 <= read_orientation(b"II*\0" + block) <= 8
