"""The AWS sample's layout, written by the sample's own few lines as the oracle."""

from __future__ import annotations

import base64
import os

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from blindgate.envelope.sample_file import SampleFile, SampleFileError, parse, seal

KEY = os.urandom(32)


def as_the_sample_writes_it(blob: bytes, data_key: bytes, content: bytes) -> bytes:
    token = Fernet(base64.b64encode(data_key)).encrypt(content)
    return len(blob).to_bytes(4, byteorder="big") + blob + token


def test_what_the_sample_writes_is_taken_apart() -> None:
    data = as_the_sample_writes_it(b"wrapped", KEY, b"photo" * 1000)
    file = parse(data)
    assert file.ciphertext_blob == b"wrapped"
    assert file.token == data[11:]


def test_what_we_write_has_its_layout() -> None:
    written = SampleFile(b"wrapped", seal(KEY, b"photo")).encode()
    assert written[:11] == b"\0\0\0\x07wrapped"
    assert Fernet(base64.urlsafe_b64encode(KEY)).decrypt(written[11:]) == b"photo"


@given(st.binary(min_size=1, max_size=6144), st.binary(min_size=1, max_size=100))
def test_parts_come_back(blob: bytes, token: bytes) -> None:
    file = parse(SampleFile(blob, token).encode())
    assert (file.ciphertext_blob, bytes(file.token)) == (blob, token)


@pytest.mark.parametrize("blob", [b"", b"x" * 6145])
def test_a_blob_out_of_range_is_not_written(blob: bytes) -> None:
    with pytest.raises(SampleFileError):
        SampleFile(blob, b"token").encode()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\0\0\0\0token", b"\0\0\0\x05abcde", b"\xff\xff\xff\xfftoken", bytes(7000)],
)
def test_a_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(SampleFileError):
        parse(data)


@pytest.mark.parametrize(
    ("length", "follow", "passes"),
    [(1, 2, True), (1, 1, False), (6144, 6145, True), (6144, 6144, False), (6145, 9000, False)],
)
def test_a_wrapped_key_has_1_to_6144_bytes_and_a_token_behind_it(
    length: int, follow: int, passes: bool
) -> None:
    data = length.to_bytes(4) + bytes(follow)
    if passes:
        file = parse(data)
        assert (len(file.ciphertext_blob), len(file.token)) == (length, follow - length)
    else:
        with pytest.raises(SampleFileError):
            parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_give_the_typed_error(data: bytes) -> None:
    try:
        file = parse(data)
    except SampleFileError:
        return
    assert file.encode() == data


@pytest.mark.parametrize("key", [b"", KEY[:16], KEY + b"x"], ids=["empty", "half", "too long"])
def test_a_key_of_another_length_seals_nothing(key: bytes) -> None:
    with pytest.raises(SampleFileError):
        seal(key, b"photo")


def test_nothing_of_a_file_is_shown() -> None:
    assert repr(SampleFile(b"wrapped", b"token")) == "SampleFile()"
