from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_image.eif import MAX_COMMAND_LINE, Image, Section, SectionType, read, write
from enclave_image.errors import MalformedImage

HEADER = 548
DATA = st.binary(max_size=200)


def image(*ramdisks: bytes, metadata: bytes = b'{"ImageName": "test"}') -> Image:
    return Image(
        (
            Section(SectionType.KERNEL, b"kernel"),
            Section(SectionType.COMMAND_LINE, b"console=ttyS0"),
            *(Section(SectionType.RAMDISK, data) for data in ramdisks or (b"boot", b"application")),
            Section(SectionType.METADATA, metadata),
        )
    )


def with_right_crc(data: bytearray) -> bytes:
    data[HEADER - 4 : HEADER] = zlib.crc32(data[HEADER:], zlib.crc32(data[: HEADER - 4])).to_bytes(
        4, "big"
    )
    return bytes(data)


def test_header_is_548_bytes_and_names_each_section() -> None:
    data = write(image())
    assert data[:6] == b".eif\x00\x04"
    assert struct.unpack_from(">H", data, 26) == (5,)
    offsets = struct.unpack_from(">32Q", data, 28)
    sizes = struct.unpack_from(">32Q", data, 28 + 256)
    assert offsets[:2] == (HEADER, HEADER + 12 + len(b"kernel"))
    assert sizes[:6] == (6, 13, 4, 11, 21, 0)


@given(kernel=DATA, line=st.binary(max_size=64), ramdisks=st.lists(DATA, min_size=1, max_size=8))
@settings(max_examples=40)
def test_what_was_written_is_read_again(kernel: bytes, line: bytes, ramdisks: list[bytes]) -> None:
    written = write(
        Image(
            (
                Section(SectionType.KERNEL, kernel),
                Section(SectionType.COMMAND_LINE, line),
                *(Section(SectionType.RAMDISK, data) for data in ramdisks),
            ),
            memory=7,
            cpus=3,
        )
    )
    found = read(written)
    assert bytes(found.kernel) == kernel
    assert found.command_line == line
    assert [bytes(data) for data in found.ramdisks] == ramdisks
    assert (found.memory, found.cpus, found.arm64, found.signed) == (7, 3, False, False)
    assert write(found) == written


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=80)
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    data = bytearray(write(image()))
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(MalformedImage):
        read(bytes(data))


@given(st.binary(max_size=2000))
@settings(max_examples=60)
def test_arbitrary_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(MalformedImage):
        read(data)
    with pytest.raises(MalformedImage):
        read(b".eif\x00\x04" + data)


@given(at=st.integers(0, HEADER - 5), value=st.binary(min_size=1, max_size=8))
@settings(max_examples=120)
def test_a_hostile_header_with_a_right_checksum_gives_an_image_or_a_typed_error(
    at: int, value: bytes
) -> None:
    data = bytearray(write(image()))
    data[at : at + len(value)] = value[: HEADER - 4 - at]
    try:
        found = read(with_right_crc(data))
    except MalformedImage:
        return
    assert sum(len(section.data) + 12 for section in found.sections) + HEADER == len(data)


@pytest.mark.parametrize("cut", [1, 11, 100])
def test_a_shortened_file_is_refused(cut: int) -> None:
    with pytest.raises(MalformedImage, match="checksum"):
        read(write(image())[:-cut])


def test_bytes_after_the_last_section_are_refused() -> None:
    with pytest.raises(MalformedImage, match="after the last section"):
        read(with_right_crc(bytearray(write(image()) + b"unmeasured")))


def test_a_gap_between_sections_is_refused() -> None:
    data = bytearray(write(image()))
    struct.pack_into(">Q", data, 28 + 8, HEADER + 12 + 6 + 1)
    with pytest.raises(MalformedImage, match="section 1 is not where"):
        read(with_right_crc(data))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([], "no kernel"),
        ([(1, b"k"), (2, b"c")], "no ramdisk"),
        ([(1, b"k"), (1, b"k"), (2, b"c"), (3, b"r")], "more than one kernel"),
        ([(1, b"k"), (2, b"x" * (MAX_COMMAND_LINE + 1)), (3, b"r")], "command line is longer"),
        ([(1, b"k"), (2, b"c"), *[(3, b"r")] * 31], "33 sections"),
    ],
)
def test_images_that_no_enclave_boots_are_not_written(
    sections: list[tuple[int, bytes]], message: str
) -> None:
    with pytest.raises(MalformedImage, match=message):
        write(Image(tuple(Section(SectionType(kind), data) for kind, data in sections)))


def test_an_unknown_section_type_is_refused() -> None:
    data = bytearray(write(image()))
    struct.pack_into(">H", data, HEADER, 6)
    with pytest.raises(MalformedImage, match="unknown type 6"):
        read(with_right_crc(data))


def test_metadata_that_is_no_object_is_a_typed_error() -> None:
    assert image().metadata() == {"ImageName": "test"}
    for text in (b"[", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(MalformedImage):
            image(metadata=text).metadata()
