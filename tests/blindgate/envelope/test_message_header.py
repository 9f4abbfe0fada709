"""Reading headers: every field, every limit, and what breaks a rule."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import pytest
from aws_encryption_sdk.internal.formatting.deserialize import deserialize_header
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from blindgate.envelope import message_header
from blindgate.envelope.algorithm_suites import Suite
from blindgate.envelope.message_errors import (
    MalformedMessage,
    MessageError,
    MessageOverLimit,
    UnsupportedMessage,
)
from blindgate.envelope.message_header import (
    ContentType,
    EncryptedDataKey,
    Limits,
    parse_header,
)
from tests.blindgate.envelope import stock
from tests.blindgate.envelope.messages import SIGNED, UNSIGNED, Writer, field, point

OURS = (b"aws-kms", b"arn", b"wrapped")


def written(**options: Any) -> bytes:
    """A message with one option that is not as usual."""
    return Writer(**options).write(b"a photo of seventeen")


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED])
@pytest.mark.parametrize("frame", [0, 1, 4096])
def test_every_field_is_read(suite: int, frame: int) -> None:
    context = ((b"", b""), (b"a", b"\xc3\xa4"), (b"purpose", b"blindgate"))
    keys = (OURS, (b"raw", b"\xff\x00", b""), (b"aws-kms-hierarchy", b"", b"x" * 65_535))
    writer = Writer(suite=suite, frame=frame, context=context, data_keys=keys)
    header = parse_header(writer.write(b"photo"))
    assert header.suite is Suite(suite)
    assert header.suite.signs == (suite == SIGNED)
    assert header.message_id == writer.message_id
    expected = {"": "", "a": "\u00e4", "purpose": "blindgate"}
    if suite == SIGNED:
        expected["aws-crypto-public-key"] = base64.b64encode(point(writer.signer)).decode()
    assert header.context == expected
    assert header.data_keys == tuple(EncryptedDataKey(p.decode(), i, c) for p, i, c in keys)
    assert header.content_type is (ContentType.FRAMED if frame else ContentType.NON_FRAMED)
    assert header.frame_length == frame
    assert header.authenticated + header.tag == writer.header
    assert header.size == len(writer.header)
    assert (header.verification_key is not None) == header.suite.signs


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_read(kind: Any) -> None:
    assert parse_header(kind(written())).context == {"purpose": "blindgate"}


def test_no_context_is_an_empty_one() -> None:
    assert parse_header(written(context=())).context == {}


def test_the_order_of_the_context_is_the_writers() -> None:
    """Libraries have sorted names by different rules; KMS takes a mapping."""
    assert list(parse_header(written(context=((b"b", b"1"), (b"a", b"2")))).context) == ["b", "a"]


@given(
    context=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=6),
    blocks=st.integers(0, 2**21),
    signed=st.booleans(),
)
def test_it_reads_what_the_stock_library_reads(
    context: dict[str, str], blocks: int, signed: bool
) -> None:
    context.pop("aws-crypto-public-key", None)
    frame = blocks * stock.FRAME_UNIT
    suite = stock.SIGNED if signed else stock.UNSIGNED
    message = stock.encrypt(b"photo", frame=frame, suite=suite, context=context)
    header = parse_header(message)
    expected, raw = deserialize_header(BytesIO(message))
    assert header.context == expected.encryption_context
    assert header.authenticated == raw
    assert header.message_id == expected.message_id
    assert header.commitment == expected.commitment_key
    assert header.frame_length == expected.frame_length == frame
    assert header.content_type == expected.content_type.value


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"version": 1}, UnsupportedMessage, id="version 1"),
        pytest.param({"version": 0}, UnsupportedMessage, id="version 0"),
        pytest.param({"version": 3}, UnsupportedMessage, id="version 3"),
        *(
            pytest.param({"suite": suite}, UnsupportedMessage, id=f"suite {suite:04x}")
            for suite in (0x0014, 0x0178, 0x0214, 0x0346, 0x0378, 0x0479, 0x0678, 0x7804, 0xFFFF)
        ),
        pytest.param({"framed": 0}, UnsupportedMessage, id="content type 0"),
        pytest.param({"framed": 3}, UnsupportedMessage, id="content type 3"),
        pytest.param({"frame": 0, "framed": 2}, MalformedMessage, id="frames of no length"),
        pytest.param({"frame": 2**32 - 1}, MessageOverLimit, id="frames of 2^32 - 1"),
        pytest.param({"frame": 1, "framed": 1}, MalformedMessage, id="no frames, with a length"),
        pytest.param({"data_keys": ()}, MalformedMessage, id="no data key"),
        pytest.param({"data_keys": (OURS,) * 9}, MessageOverLimit, id="nine data keys"),
        pytest.param({"data_keys": (OURS,) * 65_535}, MessageOverLimit, id="65535 data keys"),
        pytest.param(
            {"data_keys": ((b"\xff", b"", b""),)}, MalformedMessage, id="a provider beyond UTF-8"
        ),
        pytest.param(
            {"context": ((b"a", b"1"), (b"a", b"2"))}, MalformedMessage, id="a name twice"
        ),
        pytest.param(
            {"context": ((b"a", b"1"), (b"b", b"2"), (b"a", b"1"))},
            MalformedMessage,
            id="a pair twice",
        ),
        pytest.param({"context": ((b"\xff", b""),)}, MalformedMessage, id="a name beyond UTF-8"),
        pytest.param({"context": ((b"", b"\xed\xa0\x80"),)}, MalformedMessage, id="a surrogate"),
        pytest.param({"context": ((b"a", b"x" * 8192),)}, MessageOverLimit, id="8193 bytes"),
        pytest.param(
            {"context": tuple((b"%04x" % n, b"") for n in range(8000))},
            MessageOverLimit,
            id="very many pairs",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    message = Writer(**options).message(b"\0" * 100)
    with pytest.raises(error):
        parse_header(message)


def test_the_rules_allow_what_is_just_within_them() -> None:
    assert len(parse_header(written(data_keys=(OURS,) * 8)).data_keys) == 8
    context = ((b"a", b"x" * 8191),)
    assert len(parse_header(written(context=context)).context["a"]) == 8191
    assert parse_header(written(frame=256 * 2**20)).frame_length == 256 * 2**20


@pytest.mark.parametrize(
    ("aad", "match"),
    [
        pytest.param(b"\0\0", "without a count", id="a count of zero"),
        pytest.param(b"\0", "ends inside", id="half a count"),
        pytest.param(
            b"\0\x01" + field(b"a") + field(b"1") + b"\0", "bytes follow", id="a byte more"
        ),
        pytest.param(b"\0\x02" + field(b"a") + field(b"1"), "ends inside", id="a pair less"),
        pytest.param(b"\xff\xff" + field(b"a") + field(b"1"), "ends inside", id="65535 pairs"),
        pytest.param(b"\0\x01" + field(b"a"), "ends inside", id="a name alone"),
        pytest.param(b"\0\x01\0\x05ab", "ends inside", id="a name cut short"),
    ],
)
def test_a_context_that_does_not_fill_its_field_is_refused(aad: bytes, match: str) -> None:
    plain = Writer(context=()).write(b"photo")
    assert plain[35:37] == b"\0\0"
    with pytest.raises(MalformedMessage, match=match):
        parse_header(plain[:35] + field(aad) + plain[37:])


def test_a_header_cut_short_anywhere_is_refused() -> None:
    for suite in (UNSIGNED, SIGNED):
        header = Writer(suite=suite).header
        for end in range(len(header)):
            with pytest.raises(MalformedMessage, match="ends inside its header"):
                parse_header(header[:end])


OTHER_KEYS = {
    "a key on P-256": point(ec.generate_private_key(ec.SECP256R1())),
    "a key on P-521": point(ec.generate_private_key(ec.SECP521R1())),
    "a key that is not compressed": ec.generate_private_key(ec.SECP384R1())
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    "a point that is not on the curve": b"\x02" + b"\xff" * 48,
    "the point at infinity": b"\0" * 49,
    "nothing": b"",
}


@pytest.mark.parametrize("key", OTHER_KEYS.values(), ids=OTHER_KEYS.keys())
def test_a_signature_under_another_kind_of_key_is_refused(key: bytes) -> None:
    encoded = base64.b64encode(key) or b"="
    with pytest.raises(MalformedMessage, match="not a point on P-384"):
        parse_header(written(suite=SIGNED, verification=encoded))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: text[:-1], id="cut short"),
        pytest.param(lambda text: text + b"\n", id="a new line"),
        pytest.param(lambda text: text[:-3] + b"\n==", id="a new line within"),
        pytest.param(lambda text: "ä".encode() + text[1:], id="beyond ASCII"),
        pytest.param(lambda text: b"-" + text[1:], id="another alphabet"),
        pytest.param(lambda text: text[:-2] + b"AA", id="no padding"),
    ],
)
def test_a_key_that_is_not_strict_base64_is_refused(spoil: Any) -> None:
    signer = ec.generate_private_key(ec.SECP384R1())
    encoded = spoil(base64.b64encode(point(signer)))
    with pytest.raises(MalformedMessage, match="not a point on P-384"):
        parse_header(written(suite=SIGNED, signer=signer, verification=encoded))


def test_a_verification_key_is_there_exactly_if_the_suite_signs() -> None:
    key = base64.b64encode(point(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(MalformedMessage, match="does not fit"):
        parse_header(written(context=((b"aws-crypto-public-key", key),)))
    unsigned = bytearray(written(context=()))
    unsigned[1] = 0x05
    with pytest.raises(MalformedMessage, match="does not fit"):
        parse_header(unsigned)


def test_nothing_is_read_of_a_message_over_the_limit() -> None:
    message = written()
    assert parse_header(message, Limits(message=len(message)))
    with pytest.raises(MessageOverLimit):
        parse_header(message, Limits(message=len(message) - 1))


def test_more_frames_than_the_limit_are_refused_before_they_are_read() -> None:
    writer = Writer(frame=1)
    sixteen = writer.write(b"x" * 16)
    assert parse_header(sixteen, Limits(frames=16))
    with pytest.raises(MessageOverLimit, match="too many frames"):
        parse_header(writer.write(b"x" * 18), Limits(frames=16))
    with pytest.raises(MessageOverLimit, match="too many frames"):
        parse_header(writer.header + bytes(33 * 100_000))


def test_the_numbers_are_those_that_were_reasoned_about() -> None:
    assert Limits() == Limits(message=256 * 2**20, context=8192, data_keys=8, frames=16_384)
    assert message_header.REGULAR_FRAME_OVERHEAD == 32


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_by_type(data: bytes) -> None:
    for start in (b"", b"\x02\x04\x78", b"\x02\x05\x78" + bytes(32)):
        try:
            parse_header(start + data)
        except MessageError:
            continue


def test_nothing_secret_is_shown() -> None:
    shown = repr(parse_header(written()))
    assert "wrapped" not in shown
    assert "authenticated" not in shown
