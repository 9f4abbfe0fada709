"""The structure of PNG files, chunk by chunk (W3C PNG third edition)."""

from __future__ import annotations

import struct
import zlib
from itertools import product

import pytest

from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.png import PngHeader, read_png

DATA = zlib.compress(bytes(200))
IDAT = (b"IDAT", DATA)
IEND = (b"IEND", b"")
ALLOWED = {
    *((depth, 0) for depth in (1, 2, 4, 8, 16)),
    *((depth, colour) for depth in (8, 16) for colour in (2, 4, 6)),
    *((depth, 3) for depth in (1, 2, 4, 8)),
}


def chunk(kind: bytes, content: bytes, *, damaged: bool = False) -> bytes:
    check = zlib.crc32(kind + content) ^ damaged
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(
    *chunks: tuple[bytes, bytes] | bytes,
    depth: int = 8,
    colour: int = 2,
    methods: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    head = struct.pack(">IIBBBBB", 20, 10, depth, colour, *methods)
    parts = [each if isinstance(each, bytes) else chunk(*each) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(parts)


def joined(header: PngHeader) -> bytes:
    return b"".join(header.data)


def orientation(value: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, value, 0)


@pytest.mark.parametrize(("depth", "colour"), [*product(range(18), range(8))])
def test_depths_and_colours_are_those_of_table_8(depth: int, colour: int) -> None:
    palette = [(b"PLTE", bytes(3))] if colour == 3 else []
    data = png(*palette, IDAT, IEND, depth=depth, colour=colour)
    if (depth, colour) in ALLOWED:
        header = read_png(data)
        assert (header.width, header.height) == (20, 10)
        assert (header.depth, header.colour) == (depth, colour)
    else:
        with pytest.raises(ImageRejected, match="impossible IHDR"):
            read_png(data)


@pytest.mark.parametrize("methods", [(1, 0, 0), (0, 1, 0), (0, 0, 2), (0, 0, 255)])
def test_unknown_methods_are_refused(methods: tuple[int, int, int]) -> None:
    with pytest.raises(ImageRejected, match="impossible IHDR"):
        read_png(png(IDAT, IEND, methods=methods))


@pytest.mark.parametrize("interlace", [0, 1])
def test_interlacing_is_told(interlace: int) -> None:
    assert read_png(png(IDAT, IEND, methods=(0, 0, interlace))).interlaced is bool(interlace)


def test_the_header_comes_first_and_is_intact() -> None:
    good = png(IDAT, IEND)
    for at in (8, 11, 12, 16, 24, 32):
        with pytest.raises(ImageRejected, match="IHDR"):
            read_png(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


@pytest.mark.parametrize(
    ("size", "passes"), [(0, False), (2, False), (3, True), (4, False), (768, True), (771, False)]
)
def test_a_palette_has_1_to_256_colours(size: int, passes: bool) -> None:
    data = png((b"PLTE", bytes(size)), IDAT, IEND, colour=3)
    if passes:
        assert read_png(data).palette == bytes(size)
    else:
        with pytest.raises(ImageRejected, match="impossible palette"):
            read_png(data)


def test_the_first_palette_before_the_image_data_counts() -> None:
    two = png((b"PLTE", b"one"), (b"PLTE", b"two"), IDAT, IEND, colour=3)
    assert read_png(two).palette == b"one"
    for data in (
        png(IDAT, IEND, colour=3),
        png(IDAT, (b"PLTE", b"one"), IEND, colour=3),
    ):
        with pytest.raises(ImageRejected, match="no palette"):
            read_png(data)
    with pytest.raises(ImageRejected, match="impossible palette"):
        read_png(png(chunk(b"PLTE", b"one", damaged=True), IDAT, IEND, colour=3))


def test_a_palette_of_another_colour_type_does_not_matter() -> None:
    assert read_png(png((b"PLTE", b"x"), IDAT, IEND)).palette == b""


@pytest.mark.parametrize(
    ("colour", "size", "used"),
    [
        (0, 2, True), (0, 1, False), (0, 6, False),
        (2, 6, True), (2, 2, False), (2, 7, False),
        (3, 0, False), (3, 1, True), (3, 2, True), (3, 3, False),
        (4, 2, False), (6, 6, False),
    ],
)  # fmt: skip
def test_transparency_has_the_length_of_its_colour_type(colour: int, size: int, used: bool) -> None:
    content = b"\x07" * size
    palette = [(b"PLTE", bytes(6))] if colour == 3 else []
    header = read_png(png(*palette, (b"tRNS", content), IDAT, IEND, colour=colour))
    assert header.transparency == (content if used else b"")


def test_the_first_intact_transparency_before_the_image_data_counts() -> None:
    one, two = (b"tRNS", b"first."), (b"tRNS", b"second")
    assert read_png(png(one, two, IDAT, IEND)).transparency == b"first."
    damaged = chunk(*one, damaged=True)
    assert read_png(png(damaged, two, IDAT, IEND)).transparency == b"second"
    assert read_png(png(IDAT, one, IEND)).transparency == b""


def test_the_first_intact_exif_block_counts_wherever_it_is() -> None:
    one, two = (b"eXIf", orientation(6)), (b"eXIf", orientation(3))
    assert read_png(png(IDAT, IEND)).orientation == 1
    assert read_png(png(one, two, IDAT, IEND)).orientation == 6
    assert read_png(png(IDAT, two, one, IEND)).orientation == 3
    assert read_png(png(chunk(*one, damaged=True), two, IDAT, IEND)).orientation == 3
    assert read_png(png(IDAT, IEND, one)).orientation == 1, "nothing counts after the end"


@pytest.mark.parametrize("kind", [b"ABCD", b"IDOT", b"AbCd"])
def test_an_unknown_critical_chunk_is_refused(kind: bytes) -> None:
    with pytest.raises(ImageRejected, match="unknown critical"):
        read_png(png((kind, b"x"), IDAT, IEND))


@pytest.mark.parametrize("kind", [b"tEXt", b"iCCP", b"zzZZ"])
def test_ancillary_chunks_are_passed_over_damaged_or_not(kind: bytes) -> None:
    data = png(chunk(kind, b"x", damaged=True), (kind, b"x"), IDAT, (kind, b"x"), IEND)
    assert joined(read_png(data)) == DATA


def test_image_data_are_one_run_of_chunks() -> None:
    cut = [(b"IDAT", DATA[:5]), (b"IDAT", DATA[5:])]
    assert joined(read_png(png(*cut, IEND))) == DATA
    assert joined(read_png(png(cut[0], (b"tEXt", b""), cut[1], IEND))) == DATA[:5]
    with pytest.raises(ImageRejected, match="no image data"):
        read_png(png(IEND))


def test_the_checksum_of_the_pixels_is_apart_where_the_chunks_are_intact() -> None:
    header = read_png(png((b"IDAT", DATA[:5]), (b"IDAT", DATA[5:]), IEND))
    assert [bytes(each) for each in header.data] == [DATA[:5], DATA[5:-4], DATA[-4:]]
    damaged = read_png(png(chunk(*IDAT, damaged=True), IEND))
    assert [bytes(each) for each in damaged.data] == [DATA]


def test_a_file_may_end_within_its_image_data_and_nowhere_before() -> None:
    whole = png((b"tEXt", b"comment"), IDAT)
    start = whole.index(b"IDAT") + 4
    assert joined(read_png(whole[: start + 7])) == DATA[:7]
    with pytest.raises(ImageRejected):
        read_png(whole[: whole.index(b"tEXt") + 7])
    with pytest.raises(ImageRejected, match="longer than the file"):
        read_png(png(struct.pack(">I", 1000) + b"tEXt", IDAT))


def test_20000_chunks_are_read() -> None:
    empty = chunk(b"tEXt", b"")
    assert joined(read_png(png(empty * 19_998, IDAT, IEND))) == DATA
    with pytest.raises(ImageRejected, match="too many chunks"):
        read_png(png(empty * 19_999, IDAT, IEND))
    with pytest.raises(ImageRejected, match="too many chunks"):
        read_png(png(chunk(b"IDAT", b"x") * 20_001, IEND))
    late = (b"eXIf", orientation(6))
    assert read_png(png(IDAT, empty * 19_998, late, IEND)).orientation == 6
    assert read_png(png(IDAT, empty * 19_999, late, IEND)).orientation == 1


def control(across: int, down: int, left: int, top: int, extra: bytes = b"") -> tuple[bytes, bytes]:
    return b"fcTL", struct.pack(">IIIIIHHBB", 0, across, down, left, top, 1, 10, 0, 0) + extra


ANIMATION = (b"acTL", struct.pack(">II", 2, 0))
FRAME = (b"fdAT", b"\0\0\0\1" + DATA)


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ((20, 10, 0, 0), (0, 0, 20, 10)),
        ((5, 4, 15, 6), (15, 6, 5, 4)),
        ((1, 1, 0, 0), (0, 0, 1, 1)),
        ((6, 4, 15, 6), None),
        ((5, 5, 15, 6), None),
        ((0, 4, 0, 0), None),
        ((5, 0, 0, 0), None),
    ],
)
def test_the_first_frame_of_an_animation_is_read_where_it_fits(
    given: tuple[int, int, int, int], region: tuple[int, int, int, int] | None
) -> None:
    hidden = (b"IDAT", zlib.compress(b"hidden"))
    header = read_png(png(ANIMATION, hidden, control(*given), FRAME, IEND))
    assert header.region == (region or (0, 0, 20, 10))
    assert joined(header) == (DATA if region else hidden[1])


def test_the_image_data_are_the_first_frame_if_its_control_is_before_them() -> None:
    first = control(20, 10, 0, 0)
    header = read_png(png(ANIMATION, first, IDAT, control(5, 5, 1, 1), FRAME, IEND))
    assert (header.region, joined(header)) == ((0, 0, 20, 10), DATA)


def test_without_an_animation_there_are_no_frames() -> None:
    other = (b"fdAT", b"\0\0\0\1other")
    for nothing in (None, (b"acTL", bytes(8))):
        chunks = [*([nothing] if nothing else []), IDAT, control(5, 5, 1, 1), other, IEND]
        header = read_png(png(*chunks))
        assert (header.region, joined(header)) == ((0, 0, 20, 10), DATA)
    late = read_png(png(IDAT, ANIMATION, control(5, 5, 1, 1), other, IEND))
    assert joined(late) == DATA
    longer = read_png(png(ANIMATION, IDAT, control(5, 5, 1, 1, b"x"), other, IEND))
    assert joined(longer) == DATA


def test_a_frame_is_one_run_of_chunks_and_the_first_one_counts() -> None:
    hidden = (b"IDAT", zlib.compress(b"hidden"))
    pieces = [(b"fdAT", b"\0\0\0\1" + DATA[:5]), (b"fdAT", b"\0\0\0\2" + DATA[5:])]
    second = control(3, 3, 2, 2)
    header = read_png(png(ANIMATION, hidden, control(5, 5, 1, 1), *pieces, second, FRAME, IEND))
    assert (header.region, joined(header)) == ((1, 1, 5, 5), DATA)
    assert [len(each) for each in header.data][-1] == 4


def test_a_damaged_frame_is_read_whole() -> None:
    """Its checksum is not taken for the one of the pixels, which may be what is right."""
    frame = chunk(*FRAME, damaged=True)
    header = read_png(png(ANIMATION, IDAT, control(5, 5, 1, 1), frame, IEND))
    assert [bytes(each) for each in header.data] == [DATA]
