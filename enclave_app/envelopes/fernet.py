"""Opening the Fernet tokens of the AWS sample's files.

A token (github.com/fernet/spec, "Spec") is base64url of

    version 0x80 (1) ‖ time (8) ‖ IV (16) ‖ AES-128-CBC, PKCS #7 padded ‖ HMAC-SHA256 (32)

`cryptography.fernet` decodes the base64 with the standard library, which takes longer than the HMAC
and the decryption together, and copies the content several times. Here it is decoded by SIMD
instructions and decrypted in the memory into which it was decoded.
"""

from __future__ import annotations

import binascii
import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from pybase64 import b64decode_as_bytearray

from blindgate.envelope.sample_file import DATA_KEY_BYTES, SampleFileError

_VERSION: Final = 0x80
_IV_AT: Final = 1 + 8
_CONTENT_AT: Final = _IV_AT + 16
_MAC_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
#: Size of the pieces that are searched: each is copied, and the copy fits the processor's cache.
_SEARCHED_BYTES: Final = 64 * 1024


def open_token(data_key: bytes, token: bytes | memoryview) -> memoryview:
    """Authenticate a Fernet token and decrypt it. Its time is not checked: envelopes may be old.

    Args:
        data_key: 32 bytes: the first half authenticates, the second half decrypts.
        token: The token; it is not changed.

    Returns:
        The content, in newly allocated memory.

    Raises:
        SampleFileError: Whatever is wrong with it; always the same error.
    """
    if len(data_key) != DATA_KEY_BYTES:
        raise SampleFileError
    # RFC 4648 §5 with padding; nothing but its characters is accepted. The library also takes the
    # two characters of §4 that - and _ replace.
    if _has_other_alphabet(memoryview(token)):
        raise SampleFileError
    try:
        data = memoryview(b64decode_as_bytearray(token, altchars=b"-_", validate=True))
    except binascii.Error:
        raise SampleFileError from None
    mac_at = len(data) - _MAC_BYTES
    length = mac_at - _CONTENT_AT
    if length < _BLOCK_BYTES or length % _BLOCK_BYTES or data[0] != _VERSION:
        raise SampleFileError
    mac = hmac.digest(data_key[:16], data[:mac_at], "sha256")
    if not hmac.compare_digest(mac, data[mac_at:]):
        raise SampleFileError
    cipher = Cipher(AES128(data_key[16:]), CBC(bytes(data[_IV_AT:_CONTENT_AT]))).decryptor()
    # The room for a further block that `update_into` wants is where the HMAC was.
    cipher.update_into(data[_CONTENT_AT:mac_at], data[_CONTENT_AT:])
    cipher.finalize()
    padding = data[mac_at - 1]
    # It is authenticated, so that checking it tells an attacker nothing.
    if not 1 <= padding <= _BLOCK_BYTES or data[mac_at - padding : mac_at] != bytes(
        [padding] * padding
    ):
        raise SampleFileError
    return data[_CONTENT_AT : mac_at - padding]


def _has_other_alphabet(token: memoryview) -> bool:
    for start in range(0, len(token), _SEARCHED_BYTES):
        part = bytes(token[start : start + _SEARCHED_BYTES])
        if b"+" in part or b"/" in part:
            return True
    return False
