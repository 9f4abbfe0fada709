"""The CMS reader: the real blobs, asn1crypto as the oracle, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import cms as oracle
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_app.kms import cms
from tests.enclave_app import cms_building as build

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
DATA_KEY = bytes(range(32))
BLOB = build.enveloped(KEY.public_key(), DATA_KEY)


def as_oracle_reads(blob: bytes) -> cms.EnvelopedData:
    content = oracle.ContentInfo.load(blob, strict=True)["content"]
    (info,) = content["recipient_infos"]
    encrypted = content["encrypted_content_info"]
    return cms.EnvelopedData(
        info.chosen["rid"].chosen.native,
        info.chosen["encrypted_key"].native,
        encrypted["content_encryption_algorithm"].encryption_iv,
        encrypted["encrypted_content"].native,
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("edgebit-cms", 48),
        ("python-real-cms-80", 80),
        ("sdkc-cms-explicit-constructed", 48),
        ("sdkc-cms-implicit-primitive", 16),
    ],
)
def test_real_answers_of_kms_parse_as_the_oracle_reads_them(
    vector: Callable[[str], Path], name: str, content: int
) -> None:
    blob = vector(f"cms/{name}.ber").read_bytes()
    parsed = cms.parse(blob)
    assert parsed == as_oracle_reads(blob)
    assert (len(parsed.wrapped_key), len(parsed.content)) == (256, content)
    with pytest.raises(cms.CmsError):
        cms.decrypt(blob, KEY)


def test_real_answer_under_oaep_with_sha1_is_refused(vector: Callable[[str], Path]) -> None:
    blob = vector("cms/brodyxchen-cms-oaep-empty-params.ber").read_bytes()
    with pytest.raises(cms.CmsError):
        cms.parse(blob)


@pytest.mark.parametrize(("primitive", "definite"), [(False, False), (True, False), (True, True)])
def test_what_was_encrypted_for_the_key_is_opened(primitive: bool, definite: bool) -> None:
    blob = build.enveloped(KEY.public_key(), DATA_KEY, primitive=primitive, definite=definite)
    assert cms.decrypt(blob, KEY) == DATA_KEY
    assert cms.parse(blob) == as_oracle_reads(blob)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 64])
def test_every_length_of_plaintext_is_opened(size: int) -> None:
    assert cms.decrypt(build.enveloped(KEY.public_key(), b"x" * size), KEY) == b"x" * size


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(build.enveloped(OTHER.public_key(), DATA_KEY), id="another recipient"),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, recipients=2), id="two recipients"
        ),
        pytest.param(build.enveloped(KEY.public_key(), DATA_KEY, recipients=0), id="no recipient"),
        pytest.param(build.enveloped(KEY.public_key(), DATA_KEY, sha1=True), id="OAEP with SHA-1"),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, key_bytes=16), id="short content key"
        ),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, pad=b"\x00" * 16), id="padding of zeros"
        ),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, pad=b"\x11" * 16), id="padding of 17"
        ),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, pad=b"\x01" * 15 + b"\x02"),
            id="padding not repeated",
        ),
        pytest.param(build.enveloped(KEY.public_key(), b"", pad=b""), id="no content"),
        pytest.param(
            build.enveloped(KEY.public_key(), DATA_KEY, definite=True),
            id="constructed content of definite length",
        ),
        pytest.param(BLOB + b"\x00", id="a byte behind it"),
        pytest.param(BLOB + BLOB, id="twice"),
        pytest.param(BLOB[:-2], id="an end of contents missing"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x80" * 1000, id="nested without end"),
        pytest.param(b"\x30\x84\xff\xff\xff\xff" + BLOB[2:], id="length of four bytes"),
        pytest.param(BLOB + bytes(cms.MAX_BYTES), id="over the limit"),
        pytest.param(BLOB.replace(b"\x04\x10", b"\x04\x81\x10", 1), id="length spelled longer"),
        pytest.param(
            BLOB.replace(bytes.fromhex("060960864801650304012a"), b"\x06\x09" + b"\x60" * 9, 1),
            id="another cipher",
        ),
    ],
)
def test_anything_else_is_refused(blob: bytes) -> None:
    with pytest.raises(cms.CmsError):
        cms.decrypt(blob, KEY)


def test_an_answer_over_6144_bytes_is_refused() -> None:
    """However long the blob would be: this one is right but for its length."""
    base = len(build.enveloped(KEY.public_key(), b"x" * 5000))
    blocks = (6144 - base) // 16
    fitting = build.enveloped(KEY.public_key(), b"x" * (5000 + 16 * blocks))
    assert 6144 - 16 < len(fitting) <= 6144
    assert len(cms.decrypt(fitting, KEY)) == 5000 + 16 * blocks
    longer = build.enveloped(KEY.public_key(), b"x" * (5000 + 16 * (blocks + 1)))
    assert len(longer) > 6144
    with pytest.raises(cms.CmsError):
        cms.decrypt(longer, KEY)


def test_no_byte_in_front_of_the_iv_can_be_changed() -> None:
    """Every byte in front of the content is fixed or authenticated by RSA-OAEP."""
    content = cms.parse(BLOB).content
    unauthenticated = BLOB.index(content) - 2 - 2 - 16  # from the IV on, see the module's text
    for at in range(unauthenticated):
        for flip in (0x01, 0x80):
            changed = bytearray(BLOB)
            changed[at] ^= flip
            with pytest.raises(cms.CmsError):
                cms.decrypt(bytes(changed), KEY)


@given(st.binary(max_size=600))
@settings(max_examples=200)
def test_any_bytes_give_the_typed_error(data: bytes) -> None:
    with pytest.raises(cms.CmsError):
        cms.parse(data)


@given(st.integers(0, len(BLOB) - 1), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=3))
@settings(max_examples=300)
def test_what_the_reader_takes_the_oracle_reads_alike(
    at: int, value: int, cut: int, added: bytes
) -> None:
    blob = BLOB[:at] + bytes([value]) + added + BLOB[at + 1 + cut :]
    try:
        parsed = cms.parse(blob)
    except cms.CmsError:
        return
    assert parsed == as_oracle_reads(blob)


def test_repr_and_error_hold_no_bytes() -> None:
    parsed = cms.parse(BLOB)
    assert parsed.content.hex()[:8] not in repr(parsed)
    assert repr(parsed.content) not in repr(parsed)
    assert str(cms.CmsError()) == "KMS's answer for the recipient cannot be read"
