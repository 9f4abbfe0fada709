"""Building CMS answers the way KMS writes them, and wrong in one way at a time."""

from __future__ import annotations

import hashlib
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

OAEP_SHA256 = bytes.fromhex(
    "303c06092a864886f70d010107302fa00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500"
)
OAEP_SHA1 = bytes.fromhex("300d06092a864886f70d0101073000")


def tlv(tag: int, value: bytes) -> bytes:
    """One value of definite length."""
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def indefinite(tag: int, value: bytes) -> bytes:
    """One value of indefinite length."""
    return bytes([tag, 0x80]) + value + b"\x00\x00"


def recipient(key: RSAPublicKey, content_key: bytes, *, sha1: bool = False) -> bytes:
    """One KeyTransRecipientInfo."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hash_ = hashes.SHA1() if sha1 else hashes.SHA256()
    wrapped = key.encrypt(content_key, padding.OAEP(padding.MGF1(hash_), hash_, None))
    return tlv(
        0x30,
        tlv(0x02, b"\x02")
        + tlv(0x80, hashlib.sha256(spki).digest())
        + (OAEP_SHA1 if sha1 else OAEP_SHA256)
        + tlv(0x04, wrapped),
    )


def enveloped(
    key: RSAPublicKey,
    plaintext: bytes,
    *,
    recipients: int = 1,
    primitive: bool = False,
    definite: bool = False,
    sha1: bool = False,
    key_bytes: int = 32,
    pad: bytes | None = None,
) -> bytes:
    """An EnvelopedData as KMS writes it, or with one thing changed."""
    content_key = os.urandom(key_bytes)
    iv = os.urandom(16)
    if pad is None:
        size = 16 - len(plaintext) % 16
        pad = bytes([size]) * size
    cipher = Cipher(AES256(content_key.ljust(32, b"\0")), CBC(iv)).encryptor()
    content = cipher.update(plaintext + pad) + cipher.finalize()
    outer = tlv if definite else indefinite
    infos = b"".join(recipient(key, content_key, sha1=sha1) for _ in range(recipients))
    return outer(
        0x30,
        bytes.fromhex("06092a864886f70d010703")
        + outer(
            0xA0,
            outer(
                0x30,
                tlv(0x02, b"\x02")
                + tlv(0x31, infos)
                + outer(
                    0x30,
                    bytes.fromhex("06092a864886f70d010701")
                    + tlv(0x30, bytes.fromhex("060960864801650304012a") + tlv(0x04, iv))
                    + (tlv(0x80, content) if primitive else outer(0xA0, tlv(0x04, content))),
                ),
            ),
        ),
    )
