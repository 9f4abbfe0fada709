"""The AWS sample's layout, written by the sample's own few lines as the oracle."""

from __future__ import annotations

import base64
import os

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from blindgate.envelope.sample_file import SampleFile, SampleFileError, parse, seal, unseal

KEY = os.urandom(32)


def as_the_sample_writes_it(blob: bytes, data_key: bytes, content: bytes) -> bytes:
    token = Fernet(base64.b64encode(data_key)).encrypt(content)
    return len(blob).to_bytes(4, byteorder="big") + blob + token


# A standard base64 key with + and /, which the sample passes to Fernet as it is.
@pytest.mark.parametrize("key", [KEY, b"\xfb\xff\xfe" * 10 + b"\xff\xff"])
def test_what_the_sample_writes_is_opened(key: bytes) -> None:
    file = parse(as_the_sample_writes_it(b"wrapped", key, b"photo" * 1000))
    assert file.ciphertext_blob == b"wrapped"
    assert unseal(key, file.token) == b"photo" * 1000


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


@given(st.binary(max_size=200))
def test_any_bytes_give_the_typed_error(data: bytes) -> None:
    try:
        file = parse(data)
    except SampleFileError:
        return
    with pytest.raises(SampleFileError):
        unseal(KEY, file.token)


def test_every_changed_byte_is_noticed() -> None:
    token = seal(KEY, b"photo")
    data = base64.urlsafe_b64decode(token)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(SampleFileError):
            unseal(KEY, base64.urlsafe_b64encode(changed))


@pytest.mark.parametrize("key", [os.urandom(32), b"", KEY[:16]])
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(SampleFileError):
        unseal(key, seal(KEY, b"photo"))


def test_an_old_envelope_is_opened() -> None:
    token = Fernet(base64.urlsafe_b64encode(KEY)).encrypt_at_time(b"photo", 1_000_000_000)
    assert unseal(KEY, token) == b"photo"


def test_nothing_of_a_file_is_shown() -> None:
    assert repr(SampleFile(b"wrapped", b"token")) == "SampleFile()"
