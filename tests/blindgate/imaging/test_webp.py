"""The structure of WebP files, chunk by chunk (RFC 9649)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from blindgate.imaging.decode import read_header
from blindgate.imaging.errors import ImageRejected
from blindgate.imaging.webp import WebPHeader, read_webp

ANIMATION, ALPHA = 0x02, 0x10


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def lossy(width: int = 20, height: int = 10, more: bytes = b"") -> bytes:
    """A key frame's header (RFC 6386, section 9.1)."""
    return chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + more)


def lossless(width: int = 20, height: int = 10) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return chunk(b"VP8L", b"\x2f" + struct.pack("<I", bits))


def uint24(*values: int) -> bytes:
    return b"".join(value.to_bytes(3, "little") for value in values)


def features(flags: int = 0, width: int = 20, height: int = 10) -> bytes:
    return chunk(b"VP8X", struct.pack("<I", flags) + uint24(width - 1, height - 1))


def frame(
    image: bytes, left: int = 0, top: int = 0, across: int = 20, down: int = 10, before: bytes = b""
) -> bytes:
    """`left` and `top` in units of two pixels, as they are stored."""
    fields = uint24(left, top, across - 1, down - 1, 100) + b"\0"
    return chunk(b"ANMF", fields + before + image)


def animation(*frames: bytes, width: int = 20, height: int = 10) -> bytes:
    return webp(features(ANIMATION, width, height), chunk(b"ANIM", bytes(6)), *frames)


def exif(orientation: int, after: int = 0) -> bytes:
    """An EXIF chunk whose only entry comes after so many bytes."""
    entry = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    return chunk(b"EXIF", b"MM\0*" + struct.pack(">I", 8 + after) + bytes(after) + entry)


def written(header: WebPHeader) -> bytes:
    return b"".join(header.pieces)


@pytest.mark.parametrize("image", [lossy, lossless])
@pytest.mark.parametrize("size", [(1, 1), (20, 10), (16_383, 1), (1, 16_383)])
def test_the_size_is_that_of_the_image_data(
    image: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    for file in (webp(image(*size)), webp(features(0, 7, 7), image(*size))):
        header = read_webp(file)
        assert (header.width, header.height, header.orientation) == (*size, 1)
        assert written(header) == webp(image(*size))


def test_a_lossless_image_may_have_16384_pixels_on_a_side() -> None:
    header = read_webp(webp(lossless(16_384, 16_384)))
    assert (header.width, header.height) == (16_384, 16_384)


def test_the_upper_bits_of_a_lossy_side_are_a_scale_and_no_size() -> None:
    header = read_webp(webp(lossy(20 | 0x4000, 10 | 0x8000)))
    assert (header.width, header.height) == (20, 10)


@pytest.mark.parametrize(
    "data",
    [
        b"\x11\0\0\x9d\x01\x2a\x14\0\x0a\0",  # no key frame
        b"\x10\0\0\x9c\x01\x2a\x14\0\x0a\0",
        b"\x10\0\0\x9d\x00\x2a\x14\0\x0a\0",
        b"\x10\0\0\x9d\x01\x2b\x14\0\x0a\0",
    ],
)
def test_lossy_data_begin_with_a_key_frame(data: bytes) -> None:
    with pytest.raises(ImageRejected, match="no key frame"):
        read_webp(webp(chunk(b"VP8 ", data)))


def test_lossless_data_begin_with_their_signature() -> None:
    with pytest.raises(ImageRejected, match="no VP8L signature"):
        read_webp(webp(chunk(b"VP8L", b"\x2e" + bytes(4))))


@pytest.mark.parametrize(
    ("kind", "data"),
    [(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\x14\0\x0a\0"), (b"VP8L", b"\x2f\x13\x40\2\0")],
)
def test_image_data_that_end_in_their_header_are_refused(kind: bytes, data: bytes) -> None:
    header = read_header(webp(chunk(kind, data)))
    assert (header.width, header.height) == (20, 10)
    for length in range(len(data)):
        with pytest.raises(ImageRejected):
            read_header(webp(chunk(kind, data[:length])))


@pytest.mark.parametrize("kind", [b"ALPH", b"EXIF", b"ANMF", b"VP8x"])
def test_the_first_chunk_is_the_image_or_says_what_follows(kind: bytes) -> None:
    with pytest.raises(ImageRejected, match="unknown first chunk"):
        read_webp(webp(chunk(kind, b"12"), lossy()))
    with pytest.raises(ImageRejected, match="no image data"):
        read_webp(webp())


def test_the_file_ends_where_its_header_says() -> None:
    file = webp(features(), lossy())
    assert read_webp(file + exif(6)).orientation == 1
    shorter = file[:4] + struct.pack("<I", len(file) - 9) + file[8:]
    with pytest.raises(ImageRejected, match="no image data"):
        read_webp(shorter)


def test_a_chunk_of_odd_length_is_filled_up() -> None:
    odd = lossy(more=b"x")
    assert len(odd) % 2 == 0
    header = read_webp(webp(features(), chunk(b"ICCP", b"odd"), odd, exif(6)))
    assert header.orientation == 6
    assert written(header) == webp(odd)


def test_a_last_chunk_that_is_cut_does_not_count() -> None:
    cut = lossy()[:-2]
    with pytest.raises(ImageRejected, match="no image data"):
        read_webp(webp(features(), cut))
    assert read_webp(webp(features(), lossy(), exif(6)[:-1])).orientation == 1


def test_the_first_exif_chunk_counts_before_the_image_and_after_it() -> None:
    assert read_webp(webp(features(), exif(6), exif(3), lossy())).orientation == 6
    assert read_webp(webp(features(), lossy(), exif(3), exif(6))).orientation == 3
    assert read_webp(webp(features(), lossy())).orientation == 1
    assert read_webp(webp(lossy(), exif(6))).orientation == 1, "only an extended file has metadata"
    moving = webp(features(ANIMATION), chunk(b"ANIM", bytes(6)), frame(lossy()), exif(8))
    assert read_webp(moving).orientation == 8


def test_65536_bytes_of_exif_are_read() -> None:
    # The value ends 20 bytes behind what was put before the entry.
    assert read_webp(webp(features(), exif(6, 65_536 - 20), lossy())).orientation == 6
    assert read_webp(webp(features(), exif(6, 65_536 - 19), lossy())).orientation == 1


def test_the_first_image_counts() -> None:
    assert read_webp(webp(features(), lossy(20), lossy(30))).width == 20
    assert read_webp(webp(features(), lossless(20), lossy(30))).width == 20


def test_alpha_of_a_lossy_image_is_kept_if_it_comes_before_it() -> None:
    one, two = chunk(b"ALPH", b"\0first"), chunk(b"ALPH", b"\0second")
    kept = webp(features(ALPHA), one, lossy())
    assert written(read_webp(webp(features(), one, two, lossy()))) == kept
    assert written(read_webp(webp(features(), lossy(), one))) == webp(lossy())
    assert written(read_webp(webp(features(), one, lossless()))) == webp(lossless())


def test_20000_chunks_are_read_of_a_still_image() -> None:
    # VP8X is the first of them.
    empty = chunk(b"teSt", b"")
    assert read_webp(webp(features(), empty * 19_998, lossy())).width == 20
    with pytest.raises(ImageRejected, match="too many chunks"):
        read_webp(webp(features(), empty * 19_999, lossy()))
    assert read_webp(webp(features(), lossy(), empty * 19_997, exif(6))).orientation == 6
    assert read_webp(webp(features(), lossy(), empty * 19_998, exif(6))).orientation == 1


def test_20000_chunks_are_read_of_a_frame() -> None:
    empty = chunk(b"teSt", b"")
    assert read_webp(animation(frame(lossy(), before=empty * 19_999))).width == 20
    with pytest.raises(ImageRejected, match="without image data"):
        read_webp(animation(frame(lossy(), before=empty * 20_000)))


def test_of_an_animation_the_first_frame_is_kept_alone() -> None:
    first, alpha = lossy(6, 4), chunk(b"ALPH", b"\0first")
    noise = chunk(b"teSt", b"x")
    given = frame(first, 2, 3, 6, 4, before=alpha + chunk(b"ALPH", b"\0other") + noise)
    header = read_webp(animation(given, frame(lossy())))
    assert (header.width, header.height) == (20, 10)
    assert written(header) == webp(
        features(ANIMATION | ALPHA), chunk(b"ANIM", bytes(6)), frame(first, 2, 3, 6, 4, alpha)
    )


def test_images_outside_of_frames_are_no_part_of_an_animation() -> None:
    with pytest.raises(ImageRejected, match="no image data"):
        read_webp(animation(lossy()))
    assert read_webp(animation(lossy(7, 7), frame(lossy()))).width == 20
    with pytest.raises(ImageRejected, match="no image data"):
        read_webp(webp(features(), frame(lossy())))


@pytest.mark.parametrize(
    ("left", "top", "across", "down", "fits"),
    [
        (0, 0, 20, 10, True),
        (5, 3, 10, 4, True),
        (0, 0, 21, 10, False),
        (0, 0, 20, 11, False),
        (5, 3, 11, 4, False),
        (5, 3, 10, 5, False),
        (6, 3, 10, 4, False),
        (5, 4, 10, 4, False),
    ],
)
def test_a_frame_lies_within_its_canvas(
    left: int, top: int, across: int, down: int, fits: bool
) -> None:
    file = animation(frame(lossy(across, down), left, top, across, down))
    if fits:
        assert read_webp(file).width == 20
    else:
        with pytest.raises(ImageRejected, match="outside of its canvas"):
            read_webp(file)


@pytest.mark.parametrize("size", [(19, 10), (21, 10), (20, 9), (20, 11)])
def test_the_image_of_a_frame_is_as_large_as_the_frame(size: tuple[int, int]) -> None:
    for image in (lossy, lossless):
        with pytest.raises(ImageRejected, match="not as large as it says"):
            read_webp(animation(frame(image(*size))))


def test_a_frame_without_image_data_is_refused() -> None:
    with pytest.raises(ImageRejected, match="without image data"):
        read_webp(animation(frame(chunk(b"ALPH", b"\0x"))))
    for length in range(12):
        with pytest.raises(ImageRejected):
            read_header(animation(chunk(b"ANMF", bytes(length))))
