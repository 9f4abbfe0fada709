"""Bad input through the real HTTP endpoint: a typed problem each, and nothing given away."""

from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from blindgate import problems
from blindgate.envelope.encryption_sdk import encrypt
from blindgate.problems import Problem
from tests.blindgate.envelope.messages import Writer
from tests.e2e.live import LiveStack

pytestmark = pytest.mark.e2e

OCTETS = {"content-type": "application/octet-stream"}
Seal = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
def keeps_serving(http: httpx.Client, seal: Seal, coffee: Path) -> Iterator[None]:
    """After every bad request a good one is answered, and the worker is still the same process."""
    yield
    assert post(http, seal(coffee.read_bytes())).status_code == 200


@pytest.fixture(autouse=True)
def says_nothing(stack: LiveStack) -> Iterator[None]:
    """No log line holds a traceback, or what was in an envelope."""
    before = len(stack.printed())
    yield
    printed = stack.printed()[before:]
    assert "Traceback" not in printed
    assert "secret notes" not in printed


def post(http: httpx.Client, content: bytes, **query: str) -> httpx.Response:
    return http.post("/v1/detections", content=content, headers=OCTETS, params=query)


def check(answer: httpx.Response, problem: Problem) -> None:
    assert answer.status_code == problem.status, answer.text
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    body = answer.json()
    assert body["type"] == problem.type
    assert body["status"] == problem.status
    assert body["title"] == problem.title
    assert body["detail"]


def test_an_empty_body(http: httpx.Client) -> None:
    check(post(http, b""), problems.EMPTY_BODY)


def test_random_bytes(http: httpx.Client) -> None:
    check(post(http, bytes(range(256)) * 40), problems.ENVELOPE_REJECTED)


def test_a_plain_photo_is_not_taken_in_the_open(http: httpx.Client, coffee: Path) -> None:
    check(post(http, coffee.read_bytes()), problems.ENVELOPE_REJECTED)


def test_a_truncated_envelope(http: httpx.Client, seal: Seal, coffee: Path) -> None:
    content = seal(coffee.read_bytes())
    for length in (3, 100, 1000, len(content) // 2, len(content) - 1):
        check(post(http, content[:length]), problems.ENVELOPE_REJECTED)


@pytest.mark.parametrize("place", [-1, -20, 5000])
def test_a_wrong_tag_and_changed_ciphertext_are_one_and_the_same(
    http: httpx.Client, seal: Seal, coffee: Path, place: int
) -> None:
    content = bytearray(seal(coffee.read_bytes()))
    content[place] ^= 1
    truncated = post(http, seal(coffee.read_bytes())[:-1]).json()
    answer = post(http, bytes(content))
    check(answer, problems.ENVELOPE_REJECTED)
    same = {name: value for name, value in answer.json().items() if name != "request_id"}
    assert same == {name: value for name, value in truncated.items() if name != "request_id"}


def test_an_envelope_under_a_key_that_the_image_does_not_pin(
    stack: LiveStack, http: httpx.Client, coffee: Path
) -> None:
    admin = stack.kms("admin")
    policy = admin.get_key_policy(KeyId=stack.running.key_arn, PolicyName="default")["Policy"]
    other = admin.create_key(Policy=policy)["KeyMetadata"]["Arn"]
    content = encrypt(coffee.read_bytes(), kms=stack.kms(), key_id=other)
    check(post(http, content), problems.ENVELOPE_REJECTED)


def test_a_data_key_that_kms_does_not_know(
    stack: LiveStack, http: httpx.Client, seal: Seal, coffee: Path
) -> None:
    content = bytearray(seal(coffee.read_bytes()))
    arn = stack.running.key_arn.encode()
    start = content.index(arn) + len(arn)
    (length,) = struct.unpack(">H", content[start : start + 2])
    content[start + 2 + length - 1] ^= 1
    check(post(http, bytes(content)), problems.KMS_REFUSED)


def test_a_refusal_of_kms_says_so_and_nothing_else(
    stack: LiveStack, http: httpx.Client, coffee: Path
) -> None:
    admin = stack.kms("admin")
    policy = admin.get_key_policy(KeyId=stack.running.key_arn, PolicyName="default")["Policy"]
    # A context of its own, so that no cached data key answers in place of KMS.
    content = encrypt(coffee.read_bytes(), kms=stack.kms(), key_id=stack.running.key_alias)
    measured = (Path(stack.running.state) / "pcrs.json").read_text().split('"PCR0": "')[1][:96]
    other = "ab" * 48
    admin.put_key_policy(KeyId=stack.running.key_arn, Policy=policy.replace(measured, other))
    try:
        answer = post(http, content)
    finally:
        admin.put_key_policy(KeyId=stack.running.key_arn, Policy=policy)
    check(answer, problems.KMS_REFUSED)
    assert "arn:" not in answer.text
    # This envelope's refusal is remembered for ten seconds, and no other one's.
    another = encrypt(coffee.read_bytes(), kms=stack.kms(), key_id=stack.running.key_alias)
    assert post(http, another).status_code == 200


Write = Callable[..., Writer]


@pytest.fixture
def writer(stack: LiveStack) -> Write:
    """Writes messages by hand under a data key that KMS releases to this enclave."""
    arn = stack.running.key_arn
    data_key = stack.kms().generate_data_key(
        KeyId=arn, KeySpec="AES_256", EncryptionContext={"purpose": "blindgate"}
    )
    wrapped = (b"aws-kms", arn.encode(), data_key["CiphertextBlob"])

    def write(**options: Any) -> Writer:
        return Writer(**{"data_keys": (wrapped,), "key": data_key["Plaintext"]} | options)

    return write


def test_a_message_that_is_written_by_hand_is_opened(
    http: httpx.Client, writer: Write, coffee: Path
) -> None:
    """So what the messages below have wrong is what they are refused for."""
    assert post(http, writer(frame=4096).write(coffee.read_bytes())).status_code == 200
    assert post(http, writer(frame=0).write(coffee.read_bytes())).status_code == 200


def final_frame_in_the_middle(writer: Writer) -> bytes:
    return writer.message(
        writer.regular(1, b"abcd"),
        writer.final(2, b"ef"),
        writer.regular(3, b"abcd"),
        writer.final(4, b"ef"),
    )


PAIR = (b"purpose", b"blindgate")
HOSTILE: dict[str, Callable[[Write], bytes]] = {
    "another suite": lambda write: write(suite=0x0378).write(b"x"),
    "a header of version 1": lambda write: write(version=1).write(b"x"),
    "frames of no length": lambda write: write(frame=0, framed=2).message(bytes(100)),
    "frames of 2^32 - 1": lambda write: write(frame=2**32 - 1).write(b"x"),
    "a number twice": lambda write: write(frame=4).numbered(1, 1, final=2),
    "a number missing": lambda write: write(frame=4).numbered(1, 3, final=4),
    "a final frame in the middle": lambda write: final_frame_in_the_middle(write(frame=4)),
    "trailing bytes": lambda write: write(frame=4).write(b"a photo") + b"\0",
    "100,000 frames of one byte": lambda write: write(frame=1).message(
        *(n.to_bytes(4, "big") + bytes(29) for n in range(1, 100_001))),
    "a context over 8 KiB": lambda write: write(context=((b"a", b"x" * 8192), PAIR)).write(b"x"),
    "a name twice in the context": lambda write: write(context=(PAIR, PAIR)).write(b"x"),
    "a signature on another curve": lambda write: write(
        suite=0x0578, signer=ec.generate_private_key(ec.SECP256R1())).write(b"x"),
    "a wrapped key over 6 KiB": lambda write: write(
        data_keys=((b"aws-kms", write().data_keys[0][1], b"x" * 6145),)).write(b"x"),
    "no wrapped key": lambda write: write(data_keys=()).write(b"x"),
}  # fmt: skip


@pytest.mark.parametrize("spoilt", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_message_that_breaks_a_rule_of_the_format(
    http: httpx.Client, writer: Write, spoilt: Callable[[Write], bytes]
) -> None:
    check(post(http, spoilt(writer)), problems.ENVELOPE_REJECTED)


def huge_png() -> bytes:
    """A PNG that says 30,000 x 30,000 in its header and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def truncated_jpeg(photo: Path) -> bytes:
    target = io.BytesIO()
    with Image.open(photo) as image:
        image.save(target, "JPEG")
    return target.getvalue()[: len(target.getvalue()) // 2]


@pytest.mark.parametrize("what", ["text", "truncated JPEG", "empty", "GIF"])
def test_an_envelope_around_no_usable_image(
    http: httpx.Client, seal: Seal, coffee: Path, what: str
) -> None:
    content = {
        "text": b"secret notes\n" * 100,
        "truncated JPEG": truncated_jpeg(coffee),
        "empty": b"",
        "GIF": b"GIF89a" + bytes(100),
    }[what]
    answer = post(http, seal(content))
    check(answer, problems.IMAGE_REJECTED)
    assert answer.json()["detail"] == problems.IMAGE_REJECTED.advice


def test_an_envelope_around_an_image_over_a_limit(http: httpx.Client, seal: Seal) -> None:
    """Refused for good, with the limits, and never with "try again"."""
    answer = post(http, seal(huge_png()))
    check(answer, problems.IMAGE_TOO_LARGE)
    problem = answer.json()
    assert problem["max_pixels"] == 67_108_864
    assert problem["max_side"] == 32_767
    assert "at most 67,108,864 pixels" in problem["detail"]
    assert "retry-after" not in answer.headers


def test_a_webp_of_24_megapixels_is_not_refused_for_its_memory(
    http: httpx.Client, seal: Seal
) -> None:
    target = io.BytesIO()
    Image.new("RGB", (6000, 4000), (90, 90, 90)).save(target, "WEBP", method=0, quality=10)
    answer = post(http, seal(target.getvalue()))
    assert answer.status_code == 200
    assert answer.json()["image"] == {"width": 6000, "height": 4000}


def test_a_body_over_the_limit(stack: LiveStack, http: httpx.Client) -> None:
    check(post(http, bytes(32 * 1024 * 1024 + 1)), problems.BODY_TOO_LARGE)


def test_a_body_over_the_limit_without_a_length(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(600):
            yield bytes(64 * 1024)

    try:
        answer = http.post("/v1/detections", content=pieces(), headers=OCTETS)
    except httpx.WriteError:
        return  # refused and closed before all of it was sent
    check(answer, problems.BODY_TOO_LARGE)


def test_a_client_that_stops_sending_holds_nothing(stack: LiveStack, http: httpx.Client) -> None:
    address = urlsplit(stack.url)
    assert address.hostname is not None
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port or 80)) as sock:
            sock.sendall(
                b"POST /v1/detections HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
                b"Content-Type: application/octet-stream\r\n\r\nhalf"
            )
    assert http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"min_score": "2"},
        {"min_score": "high"},
        {"max_detections": "0"},
        {"max_detections": "301"},
        {"format": "xml"},
        {"tiles": "4"},
        {"classes": ""},
        {"min_scores": "0.5"},
    ],
)
def test_a_parameter_out_of_bounds_is_named(
    http: httpx.Client, seal: Seal, coffee: Path, query: dict[str, str]
) -> None:
    answer = post(http, seal(coffee.read_bytes()), **query)
    check(answer, problems.INVALID_REQUEST)
    (name,) = query
    assert any(each["parameter"].startswith(name) for each in answer.json()["errors"])


def test_a_class_that_the_model_does_not_know(http: httpx.Client, seal: Seal, coffee: Path) -> None:
    answer = post(http, seal(coffee.read_bytes()), classes="unicorn")
    check(answer, problems.INVALID_REQUEST)


def test_another_media_type(http: httpx.Client) -> None:
    answer = http.post("/v1/detections", content=b"{}", headers={"content-type": "text/plain"})
    check(answer, problems.UNSUPPORTED_MEDIA_TYPE)


def test_another_method_and_another_path(http: httpx.Client) -> None:
    check(http.put("/v1/detections"), problems.METHOD_NOT_ALLOWED)
    check(http.get("/v1/nothing"), problems.NOT_FOUND)
