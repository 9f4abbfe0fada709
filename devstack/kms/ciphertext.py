"""What `Encrypt` and `GenerateDataKey` give out: an opaque blob that names its key.

    01 02 02 00 78 ‖ key id, 16 bytes ‖ nonce, 12 bytes ‖ AES-256-GCM(plaintext) ‖ tag, 16 bytes

The first five bytes are those of real blobs (`AQICAHh…` in base64); the rest is ours, since
KMS does not publish its own. The encryption context is authenticated, not stored: opening needs
the same pairs, in any order.
"""

from __future__ import annotations

import json
import secrets
import uuid
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from devstack.kms.errors import invalid_ciphertext

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC = bytes.fromhex("0102020078")
_HEADER = len(_MAGIC) + 16
_NONCE = 12
_TAG = 16


def seal(key_id: str, material: bytes, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """Encrypt under a key.

    Args:
        key_id: Id of the key: a UUID, or `mrk-` and its digits.
        material: The key's 32 bytes.
        plaintext: Up to 4096 bytes.
        context: The encryption context.

    Returns:
        The blob.
    """
    header = _MAGIC + uuid.UUID(key_id.removeprefix("mrk-")).bytes
    nonce = secrets.token_bytes(_NONCE)
    return header + nonce + AESGCM(material).encrypt(nonce, plaintext, _bind(header, context))


def key_id_of(blob: bytes) -> str:
    """Read which key a blob needs.

    Raises:
        KmsError: InvalidCiphertextException; it is no blob of ours.
    """
    if len(blob) <= _HEADER + _NONCE + _TAG or not blob.startswith(_MAGIC):
        raise invalid_ciphertext()
    return str(uuid.UUID(bytes=blob[len(_MAGIC) : _HEADER]))


def open_blob(material: bytes, blob: bytes, context: Mapping[str, str]) -> bytes:
    """Decrypt a blob.

    Raises:
        KmsError: InvalidCiphertextException; damaged, or another encryption context.
    """
    header, nonce = blob[:_HEADER], blob[_HEADER : _HEADER + _NONCE]
    try:
        return AESGCM(material).decrypt(nonce, blob[_HEADER + _NONCE :], _bind(header, context))
    except InvalidTag:
        raise invalid_ciphertext() from None


def _bind(header: bytes, context: Mapping[str, str]) -> bytes:
    return header + json.dumps(sorted(context.items()), separators=(",", ":")).encode()
