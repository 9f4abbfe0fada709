"""What the SDK takes, and what it says of anything else before it sends it."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import blindgate
from blindgate import AsyncBlindgate, Blindgate, problems
from blindgate.attestation import InvalidTrust, PcrSet
from blindgate.client import (
    ClientError,
    InvalidCredentials,
    InvalidOptions,
    InvalidPhoto,
    UnsupportedSource,
)
from blindgate.client.errors import ProblemError
from blindgate.client.trust import resolve
from devstack.nsm import DevRoot
from enclave_app.handlers.ohttp import InnerAnswer
from tests.blindgate.client.gateway import FOUND, PCRS, URL, Enclave, Gateway, trust

JPEG = b"\xff\xd8\xff\xe0 the pixels of a photo"


@pytest.fixture
def sdk(gateway: Gateway, root: DevRoot) -> Iterator[Blindgate]:
    http = httpx.Client(transport=httpx.MockTransport(gateway))
    with http, Blindgate(URL, trust=trust(root), http=http) as made:
        yield made


def pixels(*shape: int) -> Any:
    return np.random.default_rng(15).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_an_array_is_sent_without_loss(sdk: Blindgate, enclave: Enclave, shape: Any) -> None:
    array = pixels(*shape)
    assert sdk.detect(array) == FOUND
    with Image.open(io.BytesIO(enclave.asked[0].content)) as sent:
        assert np.array_equal(np.asarray(sent), array)
    assert enclave.asked[0].header("content-type") == "image/png"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "F"])
def test_an_image_of_pillow_is_sent_as_its_pixels_lie(
    sdk: Blindgate, enclave: Enclave, mode: str
) -> None:
    image = Image.fromarray(pixels(6, 8, 3)).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    assert sdk.detect(image) == FOUND
    with Image.open(io.BytesIO(enclave.asked[0].content)) as sent:
        assert sent.size == (8, 6)
        assert sent.getexif().get(0x0112) is None
        wanted = image if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else image.convert("RGB")
        assert sent.convert("RGB").tobytes() == wanted.convert("RGB").tobytes()


def test_an_opened_file_of_pillow_is_an_image(
    sdk: Blindgate, enclave: Enclave, tmp_path: Path
) -> None:
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.webp", lossless=True)
    with Image.open(tmp_path / "a.webp") as opened:
        assert sdk.detect(opened) == FOUND
    assert bytes(enclave.asked[0].content).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8"),
        (np.zeros((3, 8, 6), np.uint8), r"height x width x 3 \(RGB\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), "height x width"),
        (["a.jpg"], "not as list"),
        (None, "not as NoneType"),
        (7, "not as int"),
        (io.StringIO("text"), "binary mode"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:30],
)
def test_other_objects_are_refused_with_what_to_give(
    sdk: Blindgate, gateway: Gateway, source: Any, says: str
) -> None:
    with pytest.raises(UnsupportedSource, match=says) as failed:
        sdk.detect(source)
    assert isinstance(failed.value, TypeError)
    assert gateway.seen == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\0\0\0\x1cftypheix\0\0\0\0mif1heix", "a HEIC photo"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "an AVIF image"),
        (b"GIF87a\1\0\1\0", "a GIF"),
        (b"MM\0*\0\0\0\x08", "a TIFF or raw photo"),
        (b"%PDF-1.4\n", "a PDF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\x01\x80\x03\x78 an old message", "without key commitment"),
    ],
)
def test_what_the_enclave_does_not_open_is_named_and_not_sent(
    sdk: Blindgate, gateway: Gateway, content: bytes, says: str
) -> None:
    with pytest.raises(InvalidPhoto, match=says) as failed:
        sdk.detect(content)
    assert isinstance(failed.value, ValueError)
    assert gateway.seen == []


def test_what_has_no_name_is_for_the_enclave_to_judge(sdk: Blindgate, enclave: Enclave) -> None:
    assert sdk.detect(b"\xfe\xed\xfa\xce") == FOUND
    assert len(enclave.asked) == 1


@pytest.mark.parametrize(
    ("classes", "asked"),
    [
        ("cat", "cat"),
        ("cat, traffic light", "cat,traffic light"),
        ([" cat ", "dog"], "cat,dog"),
        (("cat", "cat"), "cat"),
        (iter(["cat"]), "cat"),
    ],
)
def test_labels_are_a_text_or_several(
    sdk: Blindgate, enclave: Enclave, classes: Any, asked: str
) -> None:
    sdk.detect(JPEG, classes=classes)
    assert dict(enclave.asked[0].query) == {"classes": asked}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": []}, "the list is empty"),
        ({"classes": ""}, "a label is empty"),
        ({"classes": "cat,"}, "a label is empty"),
        ({"classes": ["a,b"]}, "classes"),
        ({"classes": [5]}, "labels are texts"),
        ({"min_score": -0.1}, "min_score: Input should be greater"),
        ({"max_detections": 301}, "max_detections"),
        ({"tiles": 4}, "tiles"),
    ],
)
def test_options_are_refused_in_one_line(
    sdk: Blindgate, gateway: Gateway, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidOptions, match=says) as failed:
        sdk.detect(JPEG, **options)
    assert "\n" not in str(failed.value)
    assert isinstance(failed.value, ValueError)
    assert gateway.seen == []


@pytest.mark.parametrize("one", ["photo.jpg", JPEG, bytearray(JPEG), Path("photo.jpg")])
def test_one_photo_is_not_many(sdk: Blindgate, gateway: Gateway, root: DevRoot, one: Any) -> None:
    with pytest.raises(UnsupportedSource, match="detect_many takes several photos"):
        sdk.detect_many(one)
    http = httpx.AsyncClient(transport=httpx.MockTransport(gateway))
    with pytest.raises(UnsupportedSource, match="several"):
        AsyncBlindgate(URL, trust=trust(root), http=http).detect_many(one)


@pytest.mark.parametrize("concurrency", [0, -1])
def test_nothing_at_a_time_never_ends_and_is_refused(
    sdk: Blindgate, gateway: Gateway, root: DevRoot, concurrency: int
) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        sdk.detect_many([JPEG], concurrency=concurrency)
    http = httpx.AsyncClient(transport=httpx.MockTransport(gateway))
    with pytest.raises(ValueError, match="concurrency"):
        AsyncBlindgate(URL, trust=trust(root), http=http).detect_many([JPEG], concurrency=-1)


def test_of_many_photos_the_wrong_ones_fail_alone(sdk: Blindgate) -> None:
    many: list[Any] = [JPEG, 7, b"GIF89a\1\0", pixels(4, 4, 3)]
    results = list(sdk.detect_many(many))
    assert [type(each.error) for each in results] == [
        type(None),
        UnsupportedSource,
        InvalidPhoto,
        type(None),
    ]


@pytest.mark.parametrize(
    ("signed", "header"),
    [
        ({"api_key": "bgk_1"}, ("x-api-key", "bgk_1")),
        ({"token": "a.b.c"}, ("authorization", "Bearer a.b.c")),
    ],
)
def test_a_key_goes_along_outside_the_seal(
    gateway: Gateway, enclave: Enclave, root: DevRoot, signed: dict[str, str], header: Any
) -> None:
    with httpx.Client(transport=httpx.MockTransport(gateway)) as http:
        client = Blindgate(URL, trust=trust(root), http=http, **signed)
        client.detect(JPEG)
        client.verify()
        assert header[1] not in repr(client)
    assert len(gateway.seen) == 5
    assert all(each.headers[header[0]] == header[1] for each in gateway.seen)
    assert enclave.asked[0].header(header[0]) is None

    async def run() -> None:
        transport = httpx.MockTransport(gateway)
        async with httpx.AsyncClient(transport=transport) as http:
            other = AsyncBlindgate(URL, trust=trust(root), http=http, **signed)
            await other.verify()
            await other.detect(JPEG)

    asyncio.run(run())
    assert all(each.headers[header[0]] == header[1] for each in gateway.seen)


@pytest.mark.parametrize(
    "signed",
    [
        {"api_key": ""},
        {"token": "two words"},
        {"api_key": "line\r\nx-other: 1"},
        {"api_key": "a", "token": "b"},
    ],
)
def test_what_cannot_sign_in_is_refused(root: DevRoot, signed: Any) -> None:
    with pytest.raises(InvalidCredentials) as failed:
        Blindgate(URL, trust=trust(root), **signed)
    assert "words" not in str(failed.value)
    assert "other" not in str(failed.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "trust=None trusts nothing: give the file"),
        (5, "not <class 'int'>"),
        ([5], "no PcrSet and no path"),
        ([None], "no PcrSet and no path"),
        ([], "no measurements are given"),
        (["development", "pcrs.json"], "cannot be combined"),
        (b"development", "no PcrSet and no path"),
    ],
)
def test_what_trusts_nothing_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InvalidTrust, match=says):
        resolve(given)


def test_a_set_by_itself_is_trusted() -> None:
    assert resolve(PcrSet("mine", PCRS)).pcr_sets[0].name == "mine"


def test_errors_of_a_problem_can_be_had(sdk: Blindgate, enclave: Enclave) -> None:
    faults = [{"parameter": f"p{i}", "message": "is wrong"} for i in range(7)]
    enclave.handler = lambda _: InnerAnswer.of_problem(problems.INVALID_REQUEST, errors=faults)
    with pytest.raises(ProblemError) as failed:
        sdk.detect(JPEG)
    assert list(failed.value.errors) == faults
    assert str(failed.value).startswith("A parameter is not valid (422): p0: is wrong; p1: is wr")
    assert str(failed.value).endswith("; and 2 more")


@pytest.mark.parametrize("errors", [None, "text", [1, "x", None], {"a": 1}, [{}]])
def test_errors_of_another_shape_are_survived(errors: object) -> None:
    failed = ProblemError(422, {"title": "T", "errors": errors}, sealed=True)
    assert str(failed) == "T (422)"


def test_the_package_shows_its_names_and_its_version() -> None:
    shown = dir(blindgate)
    for name in ("AsyncBlindgate", "Blindgate", "ProblemError", "VerificationFailed"):
        assert name in shown
        assert getattr(blindgate, name).__name__ == name
    assert blindgate.__version__.count(".") == 2
    for name in blindgate.__all__:
        assert getattr(blindgate, name) is not None
    assert issubclass(blindgate.ProblemError, ClientError)
    assert issubclass(ClientError, blindgate.BlindgateError)


def test_neither_pillow_nor_numpy_is_loaded_for_a_file() -> None:
    code = (
        "import sys, blindgate; from blindgate.client import images;"
        "images.read(b'\\xff\\xd8\\xff'); print({'PIL', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
