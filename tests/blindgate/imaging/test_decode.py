from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from blindgate.imaging.decode import Picture, decode, decoded_bytes, inspect, whole_rgb
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import ImageLimits
from tests.blindgate.imaging.files import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    chunk,
    encoded,
    exif,
    png,
    quadrants,
)

LIMITS = ImageLimits()
ENOUGH = (10_000, 10_000)


def opened(file: bytes, wanted: tuple[int, int] = ENOUGH, limits: ImageLimits = LIMITS) -> Picture:
    return decode(inspect(file, limits), wanted)


def pixel(picture: Picture, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the whole picture, in parts of its sides."""
    left, top, *_ = picture.part((x * picture.width, y * picture.height, 0, 0))
    value = picture.image.getpixel((int(left), int(top)))
    assert isinstance(value, tuple)
    return value


def near(left: tuple[int, ...], right: tuple[int, ...], by: int = 12) -> bool:
    return (
        len(left) == len(right) and max(abs(a - b) for a, b in zip(left, right, strict=True)) < by
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(kind: str, orientation: int) -> None:
    stored = quadrants(64, 48)
    file = encoded(stored, kind, exif=exif(orientation), quality=95)
    with Image.open(io.BytesIO(file)) as reference:
        expected = ImageOps.exif_transpose(reference).convert("RGB")
    picture = opened(file)
    assert (picture.width, picture.height) == expected.size
    assert np.array_equal(np.asarray(picture.image), np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_jpeg_keeps_every_place(orientation: int) -> None:
    """1001 x 803 is no multiple of eight: the last reduced pixel is only partly picture."""
    stored = quadrants(1001, 803)
    file = encoded(stored, "JPEG", exif=exif(orientation), quality=95)
    whole, small = opened(file), opened(file, (60, 60))
    assert small.image.width < whole.image.width / 7
    assert (small.width, small.height) == (whole.width, whole.height)
    for x in (0.02, 0.25, 0.45, 0.55, 0.75, 0.98):
        for y in (0.02, 0.25, 0.45, 0.55, 0.75, 0.98):
            assert near(pixel(small, x, y), pixel(whole, x, y))
    across = (small.box[2] - small.box[0]) * 8
    assert across == pytest.approx(whole.image.width)


def test_a_jpeg_is_never_reduced_below_what_is_wanted() -> None:
    file = encoded(quadrants(800, 400), "JPEG")
    assert [opened(file, (side, side)).image.width for side in (50, 51, 100, 200, 300)] == [
        100,
        200,
        200,
        400,
        800,
    ]


def test_grey_is_grey_in_all_channels() -> None:
    for kind in ("JPEG", "PNG"):
        picture = opened(encoded(Image.new("L", (9, 9), 77), kind))
        assert near(pixel(picture, 0.5, 0.5), (77, 77, 77), 3)


def test_one_bit_and_palette_pictures() -> None:
    assert pixel(opened(encoded(Image.new("1", (9, 9), 1), "PNG")), 0.5, 0.5) == WHITE
    palette = quadrants(40, 40).quantize(4)
    assert near(pixel(opened(encoded(palette, "PNG")), 0.1, 0.9), BLUE, 3)


def test_sixteen_bits_keep_their_upper_half() -> None:
    grey = png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 0x1234, 0xFEDC))
    assert [opened(grey).image.getpixel((x, 0)) for x in (0, 1)] == [(0x12,) * 3, (0xFE,) * 3]
    colour = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF))
    assert opened(colour).image.getpixel((0, 0)) == (0x12, 0x80, 0xFF)
    with_alpha = png(1, 1, 16, 4, b"\0" + struct.pack(">HH", 0x4000, 0xFFFF))
    assert opened(with_alpha).image.getpixel((0, 0)) == (0x40,) * 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_pixels_lie_over_white(kind: str) -> None:
    image = Image.new("RGBA", (20, 10), (200, 0, 0, 0))
    image.paste((200, 0, 0, 255), (10, 0, 20, 10))
    picture = opened(encoded(image, kind, lossless=True))
    assert pixel(picture, 0.2, 0.5) == WHITE
    assert pixel(picture, 0.8, 0.5) == (200, 0, 0)


def test_grey_with_alpha_and_a_transparent_colour() -> None:
    clear = encoded(Image.new("LA", (5, 5), (10, 0)), "PNG")
    assert pixel(opened(clear), 0.5, 0.5) == WHITE
    keyed = png(1, 1, 8, 2, b"\0\x01\x02\x03", chunk(b"tRNS", b"\0\x01\0\x02\0\x03"))
    assert pixel(opened(keyed), 0.5, 0.5) == WHITE
    palette = quadrants(8, 8).quantize(4)
    file = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert pixel(opened(file), 0.1, 0.1) == WHITE


def test_cmyk_is_taken_as_adobe_writes_it() -> None:
    file = encoded(quadrants(64, 64).convert("CMYK"), "JPEG", quality=95)
    picture = opened(file)
    assert near(pixel(picture, 0.2, 0.2), RED)
    assert near(pixel(picture, 0.8, 0.8), WHITE)


def test_ycck_is_turned_to_cmyk_first() -> None:
    """Pillow writes no YCCK, so a CMYK file's Adobe marker is made to say that it is one."""
    file = bytearray(encoded(Image.new("CMYK", (16, 16), (100, 128, 128, 40)), "JPEG", quality=100))
    at = file.index(b"Adobe")
    assert file[at + 11] == 0
    file[at + 11] = 2
    # The file holds 155, 127, 127, 215. Read as YCCK that is the grey 155 and no colour, whose
    # complement 100 is an inverted ink: 155 of each ink over 40 of black.
    expected = (255 - 155) * (255 - 40) / 255
    value = pixel(opened(bytes(file)), 0.5, 0.5)
    assert max(abs(channel - expected) for channel in value) < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in (RED, GREEN, BLUE)]
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert near(pixel(opened(file), 0.5, 0.5), RED, 2)


def test_a_jpeg_of_several_pictures_gives_the_first() -> None:
    first, second = quadrants(60, 40), Image.new("RGB", (60, 40), BLUE)
    file = encoded(first, "MPO", save_all=True, append_images=[second])
    assert near(pixel(opened(file), 0.1, 0.1), RED)


KINDS = {
    "jpeg": encoded(quadrants(200, 160), "JPEG"),
    "progressive": encoded(quadrants(200, 160), "JPEG", progressive=True),
    "png": encoded(quadrants(200, 160), "PNG"),
    "webp": encoded(quadrants(200, 160), "WEBP"),
    "lossless": encoded(quadrants(200, 160), "WEBP", lossless=True),
}


#: Bytes at the end of each file that decide no pixel.
END = {"png": 12 + 4 + 4, "jpeg": 2, "webp": 1, "lossless": 1}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wanted", [ENOUGH, (20, 20)])
def test_a_truncated_file_is_refused(name: str, wanted: tuple[int, int]) -> None:
    file = KINDS[name]
    most = len(file) - END.get(name, 0) - 64
    for length in [*range(0, most, max(1, most // 40)), most]:
        with pytest.raises(ImageRejected):
            opened(file[:length], wanted)


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_picture_or_one_error(name: str, data: st.DataObject) -> None:
    file = bytearray(KINDS[name])
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = opened(bytes(file), (50, 50), ImageLimits(max_pixels=1_000_000))
    except (ImageRejected, ImageTooLarge):
        return
    assert picture.image.mode == "RGB"


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBPVP8 "):
        with pytest.raises(ImageRejected):
            opened(start + data)


def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    good = encoded(quadrants(32, 32), "JPEG", exif=exif(6))
    at = good.index(b"Exif\0\0")
    assert opened(good[: at + 14] + b"\xff\xff" + good[at + 16 :]).width == 32


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png(30_000, 30_000, 8, 2, b"")
    with pytest.raises(ImageTooLarge):
        inspect(bomb, LIMITS)
    for limits in (
        ImageLimits(max_pixels=2499),
        ImageLimits(max_side=49),
        ImageLimits(max_bytes=len(KINDS["png"]) - 1),
    ):
        with pytest.raises(ImageTooLarge) as refused:
            inspect(KINDS["png"] if limits.max_bytes < 10_000 else png(50, 50, 8, 0, b""), limits)
        assert refused.value.limits == limits


def test_a_picture_smaller_than_it_claims_is_refused() -> None:
    with pytest.raises(ImageRejected):
        opened(png(3000, 3000, 8, 2, bytes(30)))


def test_a_picture_of_no_size_is_refused() -> None:
    with pytest.raises(ImageRejected):
        opened(png(0, 5, 8, 0, b""))


def test_strips_and_single_pixels_are_pictures() -> None:
    strip = opened(encoded(Image.new("RGB", (1, 30_000), GREEN), "PNG"))
    assert (strip.width, strip.height) == (1, 30_000)
    assert opened(encoded(Image.new("RGB", (30_000, 1), GREEN), "JPEG"), (20, 20)).height == 1
    for kind in ("JPEG", "PNG", "WEBP"):
        assert opened(encoded(Image.new("RGB", (1, 1), GREEN), kind), (20, 20)).image.size == (1, 1)


def test_memory_is_known_from_the_header() -> None:
    file = encoded(quadrants(1600, 1200), "JPEG")
    header = inspect(file, LIMITS)
    full, eighth = decoded_bytes(header, ENOUGH), decoded_bytes(header, (100, 100))
    assert full >= 1600 * 1200 * 4
    assert eighth < full / 4


@pytest.mark.parametrize(
    ("file", "wanted", "size"),
    [
        # 8 bytes a pixel, and 256 a column for each of three components, over 4 MiB.
        (encoded(quadrants(1600, 1200), "JPEG"), ENOUGH, 8 * 1600 * 1200 + 768 * 1600),
        (encoded(quadrants(1600, 1200), "JPEG"), (800, 600), 8 * 800 * 600 + 768 * 800),
        (encoded(quadrants(1600, 1200), "JPEG"), (801, 600), 8 * 1600 * 1200 + 768 * 1600),
        (encoded(quadrants(1601, 1201), "JPEG"), (100, 100), 8 * 201 * 151 + 768 * 201),
        (encoded(quadrants(800, 600).convert("L"), "JPEG"), ENOUGH, 8 * 800 * 600 + 256 * 800),
        # Coefficients of 16 bits for three components: more than a second image.
        (
            encoded(quadrants(800, 600), "JPEG", progressive=True, subsampling=0),
            ENOUGH,
            (6 + 4) * 800 * 600 + 768 * 800,
        ),
        (encoded(quadrants(800, 600), "PNG"), (1, 1), 8 * 800 * 600),
    ],
)
def test_decoding_is_known_to_take_two_images(
    file: bytes, wanted: tuple[int, int], size: int
) -> None:
    assert decoded_bytes(inspect(file, LIMITS), wanted) == 4_194_304 + size


def test_decoding_a_webp_is_known_to_take_three_images_and_its_file_twice() -> None:
    file = encoded(quadrants(800, 600), "WEBP")
    assert decoded_bytes(inspect(file, LIMITS), ENOUGH) == 4_194_304 + 12 * 800 * 600 + 2 * len(
        file
    )


def test_a_jpeg_is_reduced_as_far_as_both_sides_allow_and_to_an_eighth_at_most() -> None:
    file = encoded(quadrants(1600, 1200), "JPEG")
    for wanted, width in [
        ((800, 600), 800), ((801, 1), 1600), ((1, 601), 1600), ((400, 300), 400), ((401, 300), 800),
        ((200, 150), 200), ((200, 151), 400), ((1, 1), 200), ((0, 0), 200),
    ]:  # fmt: skip
        picture = opened(file, wanted)
        assert (picture.image.width, picture.width, picture.height) == (width, 1600, 1200)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_sixteen_bits_of_an_open_image_keep_their_upper_half(mode: str) -> None:
    order = ">" if mode.endswith("B") else "<"
    samples = np.array([[0x1234, 0xFF00, 0x00FF]], dtype=order + "u2")
    image = Image.frombytes(mode, (3, 1), samples.tobytes())
    found = whole_rgb(image)
    assert found.mode == "RGB"
    assert found.tobytes() == bytes([0x12] * 3 + [0xFF] * 3 + [0x00] * 3)


def test_an_open_image_is_turned_upright_and_laid_over_white() -> None:
    turned = Image.open(io.BytesIO(encoded(quadrants(40, 20), "PNG", exif=exif(6))))
    assert whole_rgb(turned).size == (20, 40)
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert whole_rgb(clear).getpixel((0, 0)) == WHITE
    assert whole_rgb(Image.new("RGB", (1, 1), RED)).getpixel((0, 0)) == RED
    key = Image.new("L", (1, 1), 7)
    key.info["transparency"] = 7
    assert whole_rgb(key).getpixel((0, 0)) == WHITE
