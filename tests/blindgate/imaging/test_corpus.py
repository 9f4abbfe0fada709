"""What browsers show is accepted, and the pixels are the same."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from blindgate.imaging.decode import decode, decode_whole, inspect
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import DEFAULT_LIMITS, ImageLimits
from tests.blindgate.imaging import corpus
from tests.blindgate.imaging.chromium import CHROMIUM, GRID, Shown, shown
from tests.blindgate.imaging.corpus import ACCEPTED, HEIGHT, PICTURE, WIDTH
from tests.blindgate.imaging.files import chunk, encoded, exif

#: How far two decoders may differ in one channel.
NEAR = 12
#: Chromium leaves out the last rows of blocks of these, which are complete.
ONLY_A_PART_IN_CHROMIUM = {"jpeg-no-end", "jpeg-half-end"}

REFUSED: dict[str, Callable[[], bytes]] = {
    "jpeg-unknown-marker": lambda: corpus.after_jfif(corpus.jpeg(), b"\xff\x02\0\2"),
    "jpeg-two-starts": lambda: corpus.after_jfif(corpus.jpeg(), b"\xff\xd8"),
    "jpeg-no-scan": lambda: corpus.jpeg()[:100],
    "png-unknown-critical": lambda: corpus.after_ihdr(corpus.png(), chunk(b"CgBI", b"1234")),
    "png-no-data": lambda: corpus.png()[:33] + corpus.png()[-12:],
    "png-header-checksum": lambda: corpus.png()[:32] + b"\0" + corpus.png()[33:],
    "webp-no-image": lambda: corpus.riff((b"VP8X", bytes(4) + b"\x5f\0\0\x3f\0\0")),
    "webp-riff-size": lambda: corpus.webp()[:4] + bytes(4) + corpus.webp()[8:],
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: make() for name, make in ACCEPTED.items()}


def samples(image: Image.Image) -> list[tuple[int, ...]]:
    found = []
    for y in range(GRID):
        for x in range(GRID):
            at = int((x + 0.5) * image.width / GRID), int((y + 0.5) * image.height / GRID)
            value = image.getpixel(at)
            assert isinstance(value, tuple)
            found.append(value)
    return found


def difference(image: Image.Image, seen: Shown) -> int:
    assert image.size == (seen.width, seen.height)
    return int(np.abs(np.array(samples(image)) - np.array(seen.pixels)).max())


@pytest.mark.parametrize("name", ACCEPTED)
def test_files_of_cameras_and_editors_are_accepted(name: str, files: dict[str, bytes]) -> None:
    header = inspect(files[name], DEFAULT_LIMITS)
    whole = decode_whole(files[name])
    assert sorted(whole.size) == [HEIGHT, WIDTH]
    assert whole.mode == "RGB"
    for wanted in ((WIDTH, HEIGHT), (8, 8)):
        picture = decode(header, wanted)
        assert (picture.width, picture.height) == whole.size


@pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed on this machine: make install-browser"
)
def test_chromium_shows_the_same_pixels(files: dict[str, bytes]) -> None:
    seen = shown(files)
    wrong = {}
    for name, file in files.items():
        assert seen[name].decoded, name
        if name not in ONLY_A_PART_IN_CHROMIUM:
            wrong[name] = difference(decode_whole(file), seen[name])
    assert {name: by for name, by in wrong.items() if by > NEAR} == {}


@pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed on this machine: make install-browser"
)
def test_what_chromium_does_not_show_is_refused() -> None:
    refused = {name: make() for name, make in REFUSED.items()}
    assert [name for name, seen in shown(refused).items() if seen.decoded] == []
    for file in refused.values():
        with pytest.raises(ImageRejected):
            decode_whole(file)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["simple", "animated"])
def test_orientation_of_a_webp_is_applied_though_browsers_ignore_it(
    kind: str, orientation: int
) -> None:
    more = (
        {"save_all": True, "append_images": [Image.new("RGB", PICTURE.size)]}
        if kind == "animated"
        else {}
    )
    file = encoded(PICTURE, "WEBP", exif=exif(orientation), lossless=True, **more)
    expected = encoded(PICTURE, "PNG", exif=exif(orientation))
    assert decode_whole(file).tobytes() == decode_whole(expected).tobytes()


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp"])
@pytest.mark.parametrize("trailer", [b"\0", b"\xff", b"\xff\xda" * 500, b"\xff\xd8\xff\xe0" * 500])
def test_what_follows_an_image_is_not_read(kind: str, trailer: bytes) -> None:
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (60, 80, 3), np.uint8))
    options = {"progressive": True} if kind == "progressive" else {}
    file = encoded(image, kind.replace("progressive", "jpeg"), **options)
    assert decode_whole(file + trailer * 100).tobytes() == decode_whole(file).tobytes()


def test_metadata_change_no_pixel() -> None:
    """Whatever is dropped: the same pixels as without it."""
    plain = decode_whole(corpus.jpeg()).tobytes()
    for name, file in ((name, make()) for name, make in ACCEPTED.items()):
        if name.startswith("jpeg-") and name.removeprefix("jpeg-") in {
            "huge-metadata",
            "many-profiles",
            "photoshop",
            "broken-exif",
            "comment",
            "unknown-app",
            "text",
            "fill",
            "zeros",
            "motion-photo",
        }:
            assert decode_whole(file).tobytes() == plain, name


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (60, 80, 3), np.uint8))
    good = corpus.png(image)
    start = good.index(b"IDAT") + 4
    noticed = 0
    for at in range(start + 2, len(good) - 20, 97):
        file = bytearray(good)
        file[at] ^= 4
        try:
            decode_whole(bytes(file))
        except ImageRejected:
            noticed += 1
        else:
            pytest.fail(f"byte {at} was changed and nothing noticed it")
    assert noticed > 50


@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (8160, 6144, {}),
        (8192, 6144, {"progressive": True}),
        (9248, 6936, {"exif": exif(6)}),
    ],
)
def test_photos_of_phones_with_50_and_64_megapixels_fit(
    width: int, height: int, options: dict[str, object]
) -> None:
    file = encoded(Image.new("RGB", (width, height), (9, 99, 200)), "JPEG", **options)
    picture = decode(inspect(file + corpus.noise(5000), DEFAULT_LIMITS), (500, 400))
    assert {picture.width, picture.height} == {width, height}
    assert picture.image.width < 1500


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_over_a_limit_says_which_limits_there_are(kind: str) -> None:
    file = encoded(PICTURE, kind)
    for limits in (
        ImageLimits(max_pixels=WIDTH * HEIGHT - 1),
        ImageLimits(max_side=WIDTH - 1),
        ImageLimits(max_bytes=len(file) - 1),
    ):
        with pytest.raises(ImageTooLarge) as refused:
            inspect(file, limits)
        assert refused.value.limits == limits
    exact = ImageLimits(len(file), WIDTH * HEIGHT, WIDTH)
    assert inspect(file, exact).width == WIDTH


def test_an_incomplete_frame_control_does_not_hide_the_image() -> None:
    file = corpus.apng(hidden=True)
    at = file.index(b"fcTL")
    cut = file[: at - 4] + chunk(b"fcTL", bytes(26)) + file[at + 4 + 26 + 4 :]
    assert decode_whole(cut).getpixel((3, 3)) == (90, 90, 90)


def test_a_frame_outside_of_its_canvas_is_refused() -> None:
    file = bytearray(
        encoded(PICTURE, "WEBP", save_all=True, append_images=[Image.new("RGB", PICTURE.size)])
    )
    at = file.index(b"ANMF") + 8
    file[at : at + 3] = b"\x09\0\0"
    with pytest.raises(ImageRejected):
        decode_whole(bytes(file))


def mutated(file: bytes, random_: random.Random) -> bytes:
    """A few of: bytes changed, removed, repeated, or lengths made extreme."""
    data = bytearray(file)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(data))
        match random_.randrange(5):
            case 0:
                data[at] = random_.randrange(256)
            case 1:
                del data[at : at + random_.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + random_.randint(1, 200)] * random_.randint(1, 30)
            case 3:
                data[at : at + 4] = random_.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"])
            case _:
                del data[at:]
        data = data or bytearray(b"\xff")
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_damaged_files_give_an_image_or_a_typed_error(
    seed: int, files: dict[str, bytes]
) -> None:
    random_ = random.Random(seed)
    seeds = [file for file in files.values() if len(file) < 20_000]
    limits = ImageLimits(max_pixels=1_000_000)
    outcomes = {"image": 0, "refused": 0}
    for _ in range(500):
        file = mutated(random_.choice(seeds), random_)
        try:
            picture = decode(inspect(file, limits), (8, 8) if random_.random() < 0.5 else (99, 99))
        except (ImageRejected, ImageTooLarge):
            outcomes["refused"] += 1
        else:
            assert picture.image.mode == "RGB"
            outcomes["image"] += 1
    assert min(outcomes.values()) > 20


def test_a_truncated_png_has_no_image_though_its_chunk_is_whole() -> None:
    rows = b"\0" + bytes(WIDTH * 3)
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(rows * (HEIGHT - 1))),
        chunk(b"IEND", b""),
    ]
    with pytest.raises(ImageRejected):
        decode_whole(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
