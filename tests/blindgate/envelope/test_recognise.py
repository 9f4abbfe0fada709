"""Telling formats apart by their first bytes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.envelope.recognise import EnvelopeKind, is_envelope, recognise
from blindgate.envelope.sample_file import SampleFile, seal

SAMPLE = SampleFile(b"wrapped", seal(os.urandom(32), b"photo")).encode()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_recognised(kind: type) -> None:
    assert recognise(kind(SAMPLE)) is EnvelopeKind.SAMPLE_FILE
    assert recognise(kind(b"\x02\x04\x78" + bytes(100))) is EnvelopeKind.ENCRYPTION_SDK
    assert recognise(kind(b"\x02\x05\x78" + bytes(100))) is EnvelopeKind.ENCRYPTION_SDK


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02\x04", id="two bytes"),
        pytest.param(b"\x01\x80\x03\x78" + bytes(100), id="a message that commits to no key"),
        pytest.param(b"\x02\x01\x78" + bytes(100), id="an unknown suite"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(100), id="a JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), id="a PNG"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 ", id="a WebP"),
        pytest.param(bytes(100), id="zeros"),
        pytest.param(b"\0\0\x18\x01" + bytes(6145) + b"gAAAAA", id="a blob over the limit"),
        pytest.param(SAMPLE[:8], id="a blob cut short"),
        pytest.param(SAMPLE.replace(b"gAAAAA", b"hAAAAA"), id="no Fernet token"),
    ],
)
def test_anything_else_is_no_envelope(data: bytes) -> None:
    assert not is_envelope(data)


@given(st.binary(max_size=64))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert recognise(data) in {None, *EnvelopeKind}
