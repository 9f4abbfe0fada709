"""`CiphertextForRecipient`: CMS EnvelopedData in the bytes that KMS really writes.

RFC 5652 section 6 in BER with indefinite lengths (X.690 section 8.1.3.6), one recipient by
subjectKeyIdentifier, RSAES-OAEP with SHA-256 (RFC 4055 section 4.1) and AES-256-CBC. The layout
was taken from real answers; two forms of the content have been seen, and both can be written.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import Enum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
_DATA = bytes.fromhex("06092a864886f70d010701")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
#: AlgorithmIdentifier of RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
_OAEP_SHA_256 = bytes.fromhex(
    "303c06092a864886f70d010107302f"
    "a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500"
)
_VERSION_2 = bytes.fromhex("020102")
_INDEFINITE = b"\x80"
_END = b"\x00\x00"


class ContentForm(Enum):
    """How the encrypted content is written: both occur in answers of KMS."""

    CONSTRUCTED = "constructed"
    PRIMITIVE = "primitive"


def envelop(
    public_key: RSAPublicKey, plaintext: bytes, form: ContentForm = ContentForm.CONSTRUCTED
) -> bytes:
    """Encrypt for the holder of an attested key.

    Args:
        public_key: The RSA key of the attestation document.
        plaintext: What KMS would have answered in plain.
        form: Which of the two encodings to write.

    Returns:
        The CMS ContentInfo.
    """
    content_key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    padder = PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    # CBC without a tag is what KMS writes; it is TLS that protects it, and it has to be like this.
    encryptor = Cipher(algorithms.AES(content_key), modes.CBC(iv)).encryptor()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encode(
        key_identifier=hashlib.sha256(spki).digest(),
        encrypted_key=public_key.encrypt(content_key, oaep),
        iv=iv,
        content=encryptor.update(padded) + encryptor.finalize(),
        form=form,
    )


def encode(
    *, key_identifier: bytes, encrypted_key: bytes, iv: bytes, content: bytes, form: ContentForm
) -> bytes:
    """Lay out the ContentInfo.

    Args:
        key_identifier: SHA-256 of the recipient's SubjectPublicKeyInfo.
        encrypted_key: The content key under RSA-OAEP.
        iv: 16 bytes.
        content: AES-256-CBC ciphertext.
        form: Which encoding of the content to write.
    """
    recipient = _definite(
        0x30,
        _VERSION_2
        + _definite(0x80, key_identifier)
        + _OAEP_SHA_256
        + _definite(0x04, encrypted_key),
    )
    algorithm = _definite(0x30, _AES_256_CBC + _definite(0x04, iv))
    if form is ContentForm.CONSTRUCTED:
        encrypted = _indefinite(0xA0, _definite(0x04, content))
    else:
        encrypted = _definite(0x80, content)
    return _indefinite(
        0x30,
        _ENVELOPED_DATA
        + _indefinite(
            0xA0,
            _indefinite(
                0x30,
                _VERSION_2
                + _definite(0x31, recipient)
                + _indefinite(0x30, _DATA + algorithm + encrypted),
            ),
        ),
    )


def _definite(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _indefinite(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + _INDEFINITE + content + _END
