from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from enclave_app.detector.header import MAX_JPEG_SCANS, HeaderError, read_header
from tests.enclave_app.detector.pictures import chunk, encoded, exif, png, quadrants

PICTURE = quadrants(70, 50)
FILES = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "grey jpeg": encoded(PICTURE.convert("L"), "JPEG"),
    "cmyk": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "webp": encoded(PICTURE, "WEBP"),
    "lossless": encoded(PICTURE, "WEBP", lossless=True),
    "extended": encoded(PICTURE, "WEBP", exif=exif(6)),
}


@pytest.mark.parametrize("name", FILES)
def test_size_is_read_from_the_header(name: str) -> None:
    header = read_header(FILES[name])
    assert (header.width, header.height) == (70, 50)


def test_format_is_told_by_content() -> None:
    assert [read_header(FILES[name]).format for name in ("jpeg", "png", "webp", "lossless")] == [
        "jpeg",
        "png",
        "webp",
        "webp",
    ]


def test_progressive_pictures_need_memory_for_their_coefficients() -> None:
    whole = read_header(encoded(PICTURE, "JPEG", progressive=True, subsampling=0))
    halved = read_header(encoded(PICTURE, "JPEG", progressive=True, subsampling=2))
    assert whole.working_bytes == 70 * 50 * 3 * 2
    assert halved.working_bytes == 70 * 50 * 1.5 * 2
    assert read_header(FILES["jpeg"]).working_bytes == 0


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(HeaderError):
        read_header(encoded(PICTURE, kind))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    file = FILES["progressive"]
    with pytest.raises(HeaderError):
        read_header(file + b"\xff\xda" * MAX_JPEG_SCANS)


def test_a_sequential_jpeg_in_several_scans_is_judged_as_a_progressive_one() -> None:
    file = bytearray(FILES["jpeg"])
    scan = file.index(b"\xff\xda")
    file[scan + 4] = 1  # one of its three components: the others come in scans of their own
    assert read_header(bytes(file)).working_bytes == 70 * 50 * 1.5 * 2
    with pytest.raises(HeaderError):
        read_header(bytes(file) + b"\xff\xda" * MAX_JPEG_SCANS)


def test_what_follows_the_only_scan_of_a_jpeg_is_not_decoded() -> None:
    """Why such files need not be searched for scans: the decoder itself takes no second one."""
    file = FILES["jpeg"]
    scan, end = file.index(b"\xff\xda"), file.rindex(b"\xff\xd9")
    once = Image.open(io.BytesIO(file)).tobytes()
    for between in (b"", b"\xff\xd9"):
        repeated = Image.open(io.BytesIO(file[:end] + between + file[scan:end] * 3000 + file[end:]))
        try:
            assert repeated.tobytes() == once
        except OSError:
            assert not between


def test_a_jpeg_has_one_frame_header_before_its_scans() -> None:
    file = FILES["jpeg"]
    frame, scan = file.index(b"\xff\xc0"), file.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", file, frame + 2)
    header = file[frame : frame + 2 + length]
    with pytest.raises(HeaderError):
        read_header(file[:scan] + header + file[scan:])
    with pytest.raises(HeaderError):
        read_header(file.replace(header, b""))


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    with pytest.raises(HeaderError):
        read_header(b"\xff\xd8" + b"\xff\xe5\0\x02" * 100_000)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xDA])
def test_unusual_jpeg_processes_are_refused(marker: int) -> None:
    file = FILES["jpeg"]
    at = file.index(b"\xff\xc0")
    with pytest.raises(HeaderError):
        read_header(file[: at + 1] + bytes([marker]) + file[at + 2 :])


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    file = bytearray(FILES["png"])
    file[file.index(b"IDAT") + 10] ^= 1
    with pytest.raises(HeaderError):
        read_header(bytes(file))


def test_a_png_needs_image_data_and_an_end() -> None:
    file = FILES["png"]
    with pytest.raises(HeaderError):
        read_header(file[: file.index(b"IDAT") - 4] + chunk(b"IEND", b""))
    with pytest.raises(HeaderError):
        read_header(file.removesuffix(chunk(b"IEND", b"")))


@pytest.mark.parametrize(("depth", "colour"), [(3, 0), (16, 3), (4, 2), (8, 1), (8, 7)])
def test_impossible_png_pixels_are_refused(depth: int, colour: int) -> None:
    with pytest.raises(HeaderError):
        read_header(png(1, 1, depth, colour, b"\0\0"))


def test_a_png_of_endless_chunks_is_refused() -> None:
    more = chunk(b"teSt", b"") * 20_001
    with pytest.raises(HeaderError):
        read_header(png(1, 1, 8, 0, b"\0\0", more))


def test_a_webp_shorter_than_it_says_is_refused() -> None:
    with pytest.raises(HeaderError):
        read_header(FILES["webp"][:-1])


def test_a_webp_canvas_is_known_before_it_is_taken() -> None:
    content = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xfe\x3f\0" * 2
    header = read_header(b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content)
    assert (header.width, header.height) == (16383, 16383)
    assert header.working_bytes > 3_000_000_000


@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_gives_a_header_or_one_error(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        header = read_header(bytes(file[:cut]))
    except HeaderError:
        return
    assert header.format in ("jpeg", "png", "webp")
