"""Reading the one CMS structure that KMS writes for an attested recipient.

CiphertextForRecipient is an EnvelopedData (RFC 5652 §6) in BER with indefinite lengths. This
reader knows that structure and no other: key transport to exactly one recipient, who is named
by the SHA-256 of its public key; RSA-OAEP with SHA-256 and MGF1-SHA-256 (RFC 4055 §4.1);
AES-256-CBC (RFC 3565); one segment of content. Only the form of the lengths is free.

AES-CBC authenticates nothing, so that whoever can write the answer can choose the plaintext.
That is safe here because the answer came over TLS that ended in this process, and because the
data key inside feeds an authenticated cipher.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blindgate.errors import BlindgateError

#: KMS documents at most 6144 bytes for CiphertextForRecipient.
MAX_BYTES: Final = 6144

_SEQUENCE, _SET, _INTEGER, _OCTETS, _OID = 0x30, 0x31, 0x02, 0x04, 0x06
_CONTEXT_0, _CONTEXT_0_CONSTRUCTED = 0x80, 0xA0
_END: Final = b"\x00\x00"

_ENVELOPED_DATA: Final = bytes.fromhex("2a864886f70d010703")  # 1.2.840.113549.1.7.3
_DATA: Final = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1
_VERSION: Final = b"\x02"
#: AlgorithmIdentifier of RSAES-OAEP with SHA-256 and MGF1 with SHA-256, without its header.
_OAEP_SHA256: Final = bytes.fromhex(
    "06092a864886f70d010107"
    "302fa00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500"
)
_AES256_CBC: Final = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class CmsError(BlindgateError):
    """The bytes are not an answer of KMS to this key."""

    def __init__(self) -> None:
        super().__init__("KMS's answer for the recipient cannot be read")


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """What the structure holds.

    Attributes:
        recipient: SHA-256 of the DER SubjectPublicKeyInfo that the content key is wrapped for.
        wrapped_key: The content key under RSA-OAEP, as long as the RSA modulus.
        iv: 16 bytes.
        content: AES-256-CBC ciphertext with PKCS #7 padding.
    """

    recipient: bytes
    wrapped_key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    content: bytes = field(repr=False)


def key_identifier(spki: bytes) -> bytes:
    """How KMS names a recipient: SHA-256 of its DER SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).digest()


def decrypt(blob: bytes, key: RSAPrivateKey) -> bytes:
    """Open CiphertextForRecipient.

    Args:
        blob: The BER bytes.
        key: The private half of the key that the attestation document carried.

    Returns:
        What KMS encrypted: for `Decrypt` of a data key, the data key.

    Raises:
        CmsError: Whatever is wrong with it; always the same error.
    """
    envelope = parse(blob)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not hmac.compare_digest(envelope.recipient, key_identifier(spki)):
        raise CmsError
    try:
        content_key = key.decrypt(envelope.wrapped_key, _OAEP)
    except ValueError:
        raise CmsError from None
    if len(content_key) != 32:
        raise CmsError
    cipher = Cipher(AES256(content_key), CBC(envelope.iv)).decryptor()
    padded = cipher.update(envelope.content) + cipher.finalize()
    pad = padded[-1]
    if not 1 <= pad <= 16 or padded[-pad:] != bytes([pad]) * pad:
        raise CmsError
    return padded[:-pad]


def parse(blob: bytes) -> EnvelopedData:
    """Read the structure without opening it.

    Raises:
        CmsError: It is not exactly this structure, or bytes follow it.
    """
    if len(blob) > MAX_BYTES:
        raise CmsError
    outer = _Reader(blob, 0, len(blob), indefinite=False)
    info = outer.enter(_SEQUENCE)
    info.expect(_OID, _ENVELOPED_DATA)
    explicit = info.enter(_CONTEXT_0_CONSTRUCTED)
    envelope = explicit.enter(_SEQUENCE)
    envelope.expect(_INTEGER, _VERSION)

    recipients = envelope.enter(_SET)
    recipient = recipients.enter(_SEQUENCE)
    recipient.expect(_INTEGER, _VERSION)
    identifier = recipient.take(_CONTEXT_0)
    recipient.expect(_SEQUENCE, _OAEP_SHA256)
    wrapped_key = recipient.take(_OCTETS)
    recipients.leave(recipient)
    envelope.leave(recipients)  # a second recipient would be left over here

    encrypted = envelope.enter(_SEQUENCE)
    encrypted.expect(_OID, _DATA)
    algorithm = encrypted.enter(_SEQUENCE)
    algorithm.expect_bytes(_AES256_CBC)
    iv = algorithm.take(_OCTETS)
    encrypted.leave(algorithm)
    # Both [0] IMPLICIT OCTET STRING forms have been seen: constructed of one segment, primitive.
    if encrypted.tag() == _CONTEXT_0_CONSTRUCTED:
        segments = encrypted.enter(_CONTEXT_0_CONSTRUCTED)
        if not segments.indefinite:  # never seen, and asn1crypto cannot read it either
            raise CmsError
        content = segments.take(_OCTETS)
        encrypted.leave(segments)
    else:
        content = encrypted.take(_CONTEXT_0)
    envelope.leave(encrypted)

    explicit.leave(envelope)
    info.leave(explicit)
    outer.leave(info)
    outer.finish()
    if len(identifier) != 32 or len(iv) != 16 or not content or len(content) % 16:
        raise CmsError
    return EnvelopedData(identifier, wrapped_key, iv, content)


class _Reader:
    """A cursor in one constructed BER value, of definite or indefinite length (X.690 §8.1.3)."""

    def __init__(self, data: bytes, at: int, limit: int, *, indefinite: bool) -> None:
        self._data = data
        self._at = at
        self._limit = limit
        self.indefinite = indefinite

    def tag(self) -> int:
        """The next identifier octet, without reading it."""
        return self._data[self._at] if self._at < self._limit else -1

    def enter(self, tag: int) -> _Reader:
        """Begin a constructed value, of definite or indefinite length."""
        length = self._header(tag)
        limit = self._limit if length is None else self._at + length
        return _Reader(self._data, self._at, limit, indefinite=length is None)

    def leave(self, inner: _Reader) -> None:
        """Go on behind a value that was entered and must have been read to its end."""
        inner.finish()
        self._at = inner._at

    def finish(self) -> None:
        """Check that nothing is left."""
        if self.indefinite:
            if self._at + 2 > self._limit or not self._data.startswith(_END, self._at):
                _refuse()
            self._at += 2
        elif self._at != self._limit:
            _refuse()

    def take(self, tag: int) -> bytes:
        """Read a primitive value."""
        length = self._header(tag)
        if length is None:
            _refuse()
        value = self._data[self._at : self._at + length]
        self._at += length
        return value

    def expect(self, tag: int, value: bytes) -> None:
        """Read a value that can only be this one."""
        if self.take(tag) != value:
            _refuse()

    def expect_bytes(self, value: bytes) -> None:
        """Read bytes, headers and all, that can only be these."""
        end = self._at + len(value)
        if end > self._limit or not self._data.startswith(value, self._at):
            _refuse()
        self._at = end

    def _header(self, tag: int) -> int | None:
        data, at, limit = self._data, self._at, self._limit
        if at + 2 > limit or data[at] != tag:
            _refuse()
        length, at = data[at + 1], at + 2
        if length == 0x80:
            self._at = at
            return None
        if length > 0x80:
            size = length & 0x7F
            if size > 2 or at + size > limit:
                _refuse()
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
            # The shortest form only: a length has one spelling, so a blob has one reading.
            if length < (0x80 if size == 1 else 0x100):
                _refuse()
        if at + length > limit:
            _refuse()
        self._at = at
        return length


def _refuse() -> NoReturn:
    raise CmsError
