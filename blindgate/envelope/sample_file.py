"""The layout that the AWS object-detection sample's `encryptor.py` writes.

    uint32 big-endian length ‖ KMS CiphertextBlob ‖ Fernet token

It has no encryption context, so a worker opens it only where its measured configuration allows.
Fernet (github.com/fernet/spec) is AES-128-CBC and HMAC-SHA256 in base64.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final

from cryptography.fernet import Fernet

from blindgate.errors import BlindgateError

LENGTH_BYTES: Final = 4
#: The longest CiphertextBlob of KMS (API reference of Decrypt).
MAX_BLOB_BYTES: Final = 6144


#: A KMS data key of 256 bits: half of it authenticates, half encrypts.
DATA_KEY_BYTES: Final = 32


class SampleFileError(BlindgateError):
    """The bytes are not in this layout, or the token is not one of this key."""

    def __init__(self) -> None:
        super().__init__("not a file as the AWS sample writes it")


@dataclass(frozen=True, slots=True)
class SampleFile:
    """The two parts of a file.

    Attributes:
        ciphertext_blob: The data key as KMS wrapped it, 1 to 6144 bytes.
        token: The Fernet token; a view into what was parsed, not checked in any way.
    """

    ciphertext_blob: bytes = field(repr=False)
    token: bytes | memoryview = field(repr=False)

    def encode(self) -> bytes:
        """The bytes of the file.

        Raises:
            SampleFileError: The blob is empty or too long.
        """
        if not 1 <= len(self.ciphertext_blob) <= MAX_BLOB_BYTES:
            raise SampleFileError
        length = len(self.ciphertext_blob).to_bytes(LENGTH_BYTES, "big")
        return b"".join((length, self.ciphertext_blob, self.token))


def parse(data: bytes | bytearray | memoryview) -> SampleFile:
    """Take a file apart without copying the token.

    Raises:
        SampleFileError: The length is zero, over the limit, or beyond the end.
    """
    view = memoryview(data)
    length = int.from_bytes(view[:LENGTH_BYTES], "big")
    start = LENGTH_BYTES + length
    if not 1 <= length <= MAX_BLOB_BYTES or start >= len(view):
        raise SampleFileError
    return SampleFile(bytes(view[LENGTH_BYTES:start]), view[start:])


def seal(data_key: bytes, plaintext: bytes) -> bytes:
    """Make the Fernet token of a plaintext under a 32-byte data key.

    Raises:
        SampleFileError: The data key has another length.
    """
    if len(data_key) != DATA_KEY_BYTES:
        raise SampleFileError
    return Fernet(base64.urlsafe_b64encode(data_key)).encrypt(plaintext)
