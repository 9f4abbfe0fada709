from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blindgate.imaging.decode import Header, read_header
from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.jpeg import JpegHeader
from tests.blindgate.imaging.files import chunk, encoded, exif, png, quadrants

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


def coefficients(file: bytes) -> int:
    header = read_header(file)
    assert isinstance(header, JpegHeader)
    return header.coefficient_bytes


def test_progressive_images_need_memory_for_their_coefficients() -> None:
    whole = encoded(PICTURE, "JPEG", progressive=True, subsampling=0)
    halved = encoded(PICTURE, "JPEG", progressive=True, subsampling=2)
    assert coefficients(whole) == 72 * 56 * 3 * 2  # whole blocks of 8 x 8
    assert coefficients(halved) == 80 * 64 * 1.5 * 2  # whole units of 16 x 16
    assert coefficients(FILES["jpeg"]) == 0


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(ImageRejected):
        read_header(encoded(PICTURE, kind))


def several_scans(file: bytes, count: int) -> bytes:
    """A progressive file whose last scan comes so many times."""
    last, end = file.rindex(b"\xff\xda"), file.rindex(b"\xff\xd9")
    return file[:last] + file[last:end] * count + file[end:]


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    file = FILES["progressive"]
    scans = file.count(b"\xff\xda")
    read_header(several_scans(file, 100 - scans + 1))
    with pytest.raises(ImageRejected):
        read_header(several_scans(file, 100 - scans + 2))


def test_a_sequential_jpeg_in_several_scans_is_judged_as_a_progressive_one() -> None:
    file = bytearray(FILES["jpeg"])
    scan = file.index(b"\xff\xda")
    # one of its three components: the others come in scans of their own
    file[scan + 2 : scan + 14] = struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    assert coefficients(bytes(file)) == 80 * 64 * 1.5 * 2
    with pytest.raises(ImageRejected):
        read_header(several_scans(bytes(file), 101))


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
    with pytest.raises(ImageRejected):
        read_header(file[:scan] + header + file[scan:])
    with pytest.raises(ImageRejected):
        read_header(file.replace(header, b""))


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    with pytest.raises(ImageRejected):
        read_header(b"\xff\xd8" + b"\xff\xe5\0\x02" * 100_000)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xDA])
def test_unusual_jpeg_processes_are_refused(marker: int) -> None:
    file = FILES["jpeg"]
    at = file.index(b"\xff\xc0")
    with pytest.raises(ImageRejected):
        read_header(file[: at + 1] + bytes([marker]) + file[at + 2 :])


def test_a_png_needs_image_data_and_no_end() -> None:
    file = FILES["png"]
    with pytest.raises(ImageRejected):
        read_header(file[: file.index(b"IDAT") - 4] + chunk(b"IEND", b""))
    assert read_header(file.removesuffix(chunk(b"IEND", b""))).width == 70


@pytest.mark.parametrize(("depth", "colour"), [(3, 0), (16, 3), (4, 2), (8, 1), (8, 7)])
def test_impossible_png_pixels_are_refused(depth: int, colour: int) -> None:
    with pytest.raises(ImageRejected):
        read_header(png(1, 1, depth, colour, b"\0\0"))


def test_a_png_of_endless_chunks_is_refused() -> None:
    more = chunk(b"teSt", b"") * 20_001
    with pytest.raises(ImageRejected):
        read_header(png(1, 1, 8, 0, b"\0\0", more))


def test_a_webp_cut_off_in_its_image_data_is_refused() -> None:
    with pytest.raises(ImageRejected):
        read_header(FILES["webp"][:-2])


@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_gives_a_header_or_one_error(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        header = read_header(bytes(file[:cut]))
    except ImageRejected:
        return
    assert isinstance(header, Header)
