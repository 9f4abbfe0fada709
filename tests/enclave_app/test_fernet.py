"""Fernet tokens as the AWS sample writes them, with `cryptography.fernet` as the oracle."""

from __future__ import annotations

import base64
import hmac
import os

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from blindgate.envelope.sample_file import SampleFileError
from enclave_app.envelopes.fernet import open_token

KEY = os.urandom(32)


def fernet(key: bytes = KEY) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(key))


def token(data: bytes) -> bytes:
    """A token of these bytes with a right HMAC."""
    return base64.urlsafe_b64encode(data + hmac.digest(KEY[:16], data, "sha256"))


def encrypted(padded: bytes) -> bytes:
    cipher = Cipher(AES128(KEY[16:]), CBC(bytes(16))).encryptor()
    return b"\x80" + bytes(24) + cipher.update(padded) + cipher.finalize()


# A standard base64 key with + and /, which the sample passes to Fernet as it is.
@pytest.mark.parametrize(
    "key", [KEY, b"\xfb\xff\xfe" * 10 + b"\xff\xff"], ids=["random", "plus and slash"]
)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 300_000])
def test_what_the_sample_writes_is_opened(key: bytes, size: int) -> None:
    content = os.urandom(size)
    written = Fernet(base64.b64encode(key)).encrypt(content)
    assert open_token(key, written) == content
    assert open_token(key, memoryview(written)) == content


def test_an_old_token_is_opened() -> None:
    written = fernet().encrypt_at_time(b"photo", 1_000_000_000)
    assert bytes(open_token(KEY, written)) == b"photo"


@given(st.binary(max_size=200))
def test_every_content_comes_back(content: bytes) -> None:
    assert open_token(KEY, fernet().encrypt(content)) == content


def test_every_changed_byte_is_noticed() -> None:
    data = base64.urlsafe_b64decode(fernet().encrypt(b"photo"))
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(SampleFileError):
            open_token(KEY, base64.urlsafe_b64encode(changed))


def test_a_token_cut_short_anywhere_is_refused() -> None:
    whole = fernet().encrypt(b"photo")
    for end in range(len(whole)):
        with pytest.raises(SampleFileError):
            open_token(KEY, whole[:end])


@pytest.mark.parametrize(
    "key", [os.urandom(32), b"", KEY[:16], KEY + b"x"], ids=["other", "empty", "half", "too long"]
)
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(SampleFileError):
        open_token(key, fernet().encrypt(b"photo"))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: text + b"\n", id="a new line behind it"),
        pytest.param(lambda text: text[:40] + b"\n" + text[40:], id="a new line within"),
        pytest.param(lambda text: text[:40] + b"!" + text[41:], id="another character"),
        pytest.param(lambda text: text + b"AAAA", id="more behind the padding"),
        pytest.param(lambda text: text.rstrip(b"="), id="no padding"),
        pytest.param(lambda text: text[:40] + b"+" + text[41:], id="plus instead of minus"),
        pytest.param(lambda text: text[:-8] + b"/" + text[-7:], id="slash instead of underscore"),
        pytest.param(lambda text: b"\xff" + text[1:], id="beyond ASCII"),
    ],
)
def test_what_is_not_strict_base64_is_refused(spoil: object) -> None:
    assert callable(spoil)
    written = fernet().encrypt(b"photo")
    assert written.endswith(b"=")
    with pytest.raises(SampleFileError):
        open_token(KEY, spoil(written))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80" + bytes(24), id="no content"),
        pytest.param(encrypted(b"photo" + b"\x0b" * 11)[:-1], id="part of a block"),
        pytest.param(b"\x81" + encrypted(b"photo" + b"\x0b" * 11)[1:], id="another version"),
        pytest.param(encrypted(b"a full block of.")[:41], id="no padding"),
        pytest.param(encrypted(b"\0" * 16), id="padding of 0"),
        pytest.param(encrypted(b"\x11" * 16), id="padding of 17"),
        pytest.param(encrypted(b"x" * 14 + b"\x03\x03"), id="padding that differs"),
    ],
)
def test_what_is_authentic_and_no_token_is_refused(data: bytes) -> None:
    with pytest.raises(SampleFileError):
        open_token(KEY, token(data))


def test_padding_of_a_whole_block_is_removed() -> None:
    assert bytes(open_token(KEY, token(encrypted(b"\x10" * 16)))) == b""


def test_a_plus_or_slash_is_refused_although_it_would_decode_to_the_same_token() -> None:
    """In a short token and beyond the first 64 KiB of a long one."""
    for size in (5, 300_000):
        text = fernet().encrypt(bytes(size))
        while b"_" not in text[-1000:] or b"-" not in text[-1000:]:
            text = fernet().encrypt(bytes(size))
        for ours, other in ((b"_", b"/"), (b"-", b"+")):
            at = text.rindex(ours)
            with pytest.raises(SampleFileError):
                open_token(KEY, text[:at] + other + text[at + 1 :])


@given(st.binary(max_size=200) | st.text("ABaz09+/-_=\n", max_size=200).map(str.encode))
def test_any_bytes_give_the_typed_error(data: bytes) -> None:
    with pytest.raises(SampleFileError):
        open_token(KEY, data)
