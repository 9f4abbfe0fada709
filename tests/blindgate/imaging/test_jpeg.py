"""The structure of JPEG files, segment by segment (ITU-T T.81, Annex B)."""

from __future__ import annotations

import struct

import pytest

from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.jpeg import JpegHeader, read_jpeg

DATA = b"\x12\x34\xff\x00\x56"
END = b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def frame(
    *sampling: int, marker: int = 0xC0, precision: int = 8, width: int = 20, height: int = 10
) -> bytes:
    parts = b"".join(bytes([n, both, 0]) for n, both in enumerate(sampling, 1))
    head = struct.pack(">BHHB", precision, height, width, len(sampling))
    return segment(marker, head + parts)


def scan(*numbers: int, first: int = 0, last: int = 63, bits: int = 0) -> bytes:
    parts = b"".join(bytes([n, 0]) for n in numbers)
    return segment(0xDA, bytes([len(numbers)]) + parts + bytes([first, last, bits]))


def jpeg(*parts: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(parts)


def grey(*before: bytes) -> bytes:
    return jpeg(*before, frame(0x11), scan(1), DATA, END)


def written(header: JpegHeader) -> bytes:
    return b"".join(header.pieces(1))


def exif(orientation: int) -> bytes:
    entry = struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)
    return segment(0xE1, b"Exif\0\0MM\0*" + entry)


def test_the_frame_header_says_size_and_components() -> None:
    for sampling in ((0x11,), (0x22, 0x11, 0x11), (0x11,) * 4):
        file = jpeg(frame(*sampling), scan(*range(1, len(sampling) + 1)), DATA, END)
        header = read_jpeg(file)
        assert (header.width, header.height, header.components) == (20, 10, len(sampling))
        assert (header.progressive, header.coefficient_bytes, header.orientation) == (False, 0, 1)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_only_grey_colours_and_cmyk_are_read(count: int) -> None:
    with pytest.raises(ImageRejected, match="unusual frame header"):
        read_jpeg(jpeg(frame(*(0x11,) * count), scan(1), DATA, END))


@pytest.mark.parametrize("precision", [0, 7, 9, 12, 16])
def test_samples_have_8_bits(precision: int) -> None:
    with pytest.raises(ImageRejected, match="unusual frame header"):
        read_jpeg(jpeg(frame(0x11, precision=precision), scan(1), DATA, END))


def test_a_frame_header_is_as_long_as_its_components() -> None:
    for change in (b"", b"\0\0"):
        content = frame(0x11)[4:-1] + change
        with pytest.raises(ImageRejected, match="unusual frame header"):
            read_jpeg(jpeg(segment(0xC0, content), scan(1), DATA, END))


@pytest.mark.parametrize("across", range(7))
@pytest.mark.parametrize("down", range(7))
def test_sampling_factors_are_1_to_4(across: int, down: int) -> None:
    file = jpeg(frame(across << 4 | down, 0x11, 0x11), scan(1, 2, 3), DATA, END)
    if 1 <= across <= 4 and 1 <= down <= 4:
        assert read_jpeg(file).components == 3
    else:
        with pytest.raises(ImageRejected, match="sampling factors"):
            read_jpeg(file)


def test_the_first_exif_block_before_the_scans_counts() -> None:
    assert read_jpeg(grey(exif(6), exif(3))).orientation == 6
    assert read_jpeg(grey(segment(0xE1, b"http://ns.adobe.com/xap"), exif(3))).orientation == 3
    for marker in (0xE0, 0xE2, 0xFE):
        assert read_jpeg(grey(segment(marker, exif(6)[4:]))).orientation == 1
    late = jpeg(frame(0x11, marker=0xC2), scan(1), DATA, exif(6), scan(1), DATA, END)
    assert read_jpeg(late).orientation == 1


@pytest.mark.parametrize(
    ("segment_", "kept"),
    [
        (segment(0xEE, b"Adobe" + bytes(6) + b"\x02"), b"Adobe\x00\x64\x00\x00\x00\x00\x02"),
        (segment(0xEE, b"Adobe" + bytes(6) + b"\x01more"), b"Adobe\x00\x64\x00\x00\x00\x00\x01"),
        (segment(0xEE, b"Adobe" + bytes(6)), b""),
        (segment(0xEE, b"Adobf" + bytes(7)), b""),
        (segment(0xE0, b"JFIF\0" + bytes(9)), b"JFIF\0\1\1\0\0\1\0\1\0\0"),
        (segment(0xE0, b"JFIF\0" + bytes(8)), b""),
        (segment(0xE0, b"JFXX\0" + bytes(20)), b""),
        (segment(0xE1, b"JFIF\0" + bytes(9)), b""),
        (segment(0xFE, b"JFIF\0" + bytes(9)), b""),
        (segment(0xE0, b"Adobe" + bytes(7)), b""),
        (segment(0xFE, b"Adobe" + bytes(7)), b""),
        (segment(0xFE, b"a comment"), b""),
        (segment(0xDC, b"\0\x0a"), b""),
    ],
)
def test_of_the_application_segments_only_what_changes_colours_is_kept(
    segment_: bytes, kept: bytes
) -> None:
    plain = written(read_jpeg(grey()))
    assert plain == b"\xff\xd8" + frame(0x11) + scan(1) + DATA + END + bytes(64)
    found = written(read_jpeg(grey(segment_)))
    assert kept in found
    assert len(found) == len(plain) + (len(kept) + 4 if kept else 0)


@pytest.mark.parametrize("marker", [0xC3, 0xC8, 0xCC, 0xD8, 0xDE, 0xF0, 0x02])
def test_unknown_markers_are_refused(marker: int) -> None:
    with pytest.raises(ImageRejected, match="unknown marker"):
        read_jpeg(grey(segment(marker, b"x")))


@pytest.mark.parametrize("alone", [0x01, 0xD0, 0xD7])
def test_markers_without_a_segment_fill_bytes_and_stray_bytes_are_stepped_over(alone: int) -> None:
    header = read_jpeg(grey(b"\xff" + bytes([alone]), b"stray\xff\0", b"\xff\xff\xff"))
    assert header.width == 20


@pytest.mark.parametrize("length", [0, 1])
def test_a_segment_has_its_own_length_at_least(length: int) -> None:
    with pytest.raises(ImageRejected, match="a segment"):
        read_jpeg(grey(b"\xff\xe5" + struct.pack(">H", length)))
    assert read_jpeg(grey(b"\xff\xe5\0\x02")).width == 20


def test_a_segment_ends_within_the_file() -> None:
    for length in (3, 4, 65_535):
        with pytest.raises(ImageRejected, match="longer than the file"):
            read_jpeg(jpeg(frame(0x11), b"\xff\xe5" + struct.pack(">H", length)))


@pytest.mark.parametrize(
    "content",
    [b"\0\0\x3f\0", b"\5" + b"\1\0" * 5 + b"\0\x3f\0", b"\1\1\0\0\x3f", b"\1\1\0\0\x3f\0\0"],
)
def test_a_scan_header_is_as_long_as_its_components(content: bytes) -> None:
    with pytest.raises(ImageRejected, match="impossible scan header"):
        read_jpeg(jpeg(frame(0x11), segment(0xDA, content), DATA, END))


def test_the_order_is_frame_scan_end() -> None:
    with pytest.raises(ImageRejected, match="before the frame header"):
        read_jpeg(jpeg(scan(1), DATA, END))
    with pytest.raises(ImageRejected, match="two frame headers"):
        read_jpeg(jpeg(frame(0x11), frame(0x11), scan(1), DATA, END))
    with pytest.raises(ImageRejected, match="no image data"):
        read_jpeg(jpeg(frame(0x11), END))


def test_tables_have_256_kib_at_most() -> None:
    tables = [segment(0xC4, bytes(65_532))] * 4
    assert sum(map(len, tables)) == 262_144
    assert read_jpeg(grey(*tables)).width == 20
    with pytest.raises(ImageRejected, match="too many tables"):
        read_jpeg(grey(*tables, segment(0xDD, b"\0\0")))


def test_10000_segments_are_read() -> None:
    # The frame, the scan and the end are the last three.
    empty = segment(0xE5, b"")
    several = (frame(0x11, marker=0xC2), scan(1), DATA, END)
    assert read_jpeg(jpeg(empty * 9_997, *several)).width == 20
    with pytest.raises(ImageRejected, match="too many segments"):
        read_jpeg(jpeg(empty * 9_998, *several))


@pytest.mark.parametrize("fill", [b"x", b"\xff"])
def test_1_mib_between_the_segments_of_a_file_is_stepped_over(fill: bytes) -> None:
    size = 1_048_576
    half = fill * (size // 2)
    assert read_jpeg(grey(fill * size)).width == 20
    assert read_jpeg(grey(half, segment(0xE5, b""), half)).width == 20
    for parts in ([fill * (size + 1)], [half, segment(0xE5, b""), half + fill]):
        with pytest.raises(ImageRejected, match="bytes between them"):
            read_jpeg(grey(*parts))


@pytest.mark.parametrize("at", [262_142, 262_143, 262_144, 262_145, 524_287, 524_288])
def test_a_marker_is_found_wherever_it_is_in_the_data_of_a_scan(at: int) -> None:
    """The data are searched in pieces, and a marker may lie across two of them."""
    data = bytes(at)
    file = jpeg(frame(0x11, marker=0xC2), scan(1), data, exif(6), scan(1), DATA, END)
    pieces = [bytes(piece) for piece in read_jpeg(file).pieces(1)]
    assert data in pieces


@pytest.mark.parametrize(
    ("sampling", "blocks"),
    [
        # 20 x 10 pixels: units of 8, 16 or 32 pixels on a side.
        ((0x11,), 3 * 2),
        ((0x11, 0x11, 0x11), 3 * 2 * 3),
        ((0x22, 0x11, 0x11), 2 * 1 * 6),
        ((0x21, 0x11, 0x11), 2 * 2 * 4),
        ((0x12, 0x11, 0x11), 3 * 1 * 4),
        ((0x41, 0x11, 0x11), 1 * 2 * 6),
    ],
)
def test_coefficients_of_several_scans_take_128_bytes_a_block(
    sampling: tuple[int, ...], blocks: int
) -> None:
    file = jpeg(frame(*sampling, marker=0xC2), scan(1, last=0), DATA, scan(1, first=1), DATA, END)
    header = read_jpeg(file)
    assert (header.progressive, header.coefficient_bytes) == (True, blocks * 128)
    assert header.until_marker() is None


def test_of_a_file_of_one_scan_what_follows_it_can_be_left_out() -> None:
    (*_, data, end) = read_jpeg(jpeg(frame(0x11), scan(1), DATA, END, b"more")).until_marker() or ()
    assert (bytes(data), bytes(end)) == (DATA, END)
    assert read_jpeg(jpeg(frame(0x11), scan(1), DATA)).until_marker() is None


@pytest.mark.parametrize(
    ("scans", "passes"),
    [
        ([(0, 0, 0), (1, 63, 1), (1, 63, 0)], True),
        ([(0, 0, 0), (1, 63, 0)], True),
        ([(0, 0, 0), (1, 62, 0), (1, 63, 1)], False),
        ([(0, 0, 0), (1, 63, 1)], False),
        ([(1, 63, 0), (0, 0, 0)], False),
        ([(0, 0, 0)], False),
    ],
)
def test_a_progressive_file_without_an_end_lacks_no_coefficient(
    scans: list[tuple[int, int, int]], passes: bool
) -> None:
    parts = [
        part
        for first, last, bits in scans
        for part in (scan(1, first=first, last=last, bits=bits), DATA)
    ]
    file = jpeg(frame(0x11, marker=0xC2), *parts)
    assert read_jpeg(file + END).progressive
    if passes:
        assert written(read_jpeg(file)).endswith(DATA + END)
    else:
        with pytest.raises(ImageRejected, match="truncated"):
            read_jpeg(file)
