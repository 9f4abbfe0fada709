"""The outer layer: COSE_Sign1 (RFC 9052 §4.2) as the NSM writes it, and no other way.

The signature covers the protected header and the payload, not the CBOR around them. So that
nobody can change a byte of a document that verifies, the bytes around them are fixed: array of
four, protected header `a1013822`, an empty unprotected map, lengths in their shortest form.
The one choice left is tag 18, which the specification allows in front and the NSM leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blindgate.attestation.errors import (
    DocumentTooLarge,
    MalformedCbor,
    NotCoseSign1,
    TrailingBytes,
    UnexpectedTag,
    UnprotectedHeader,
    WrongAlgorithm,
    WrongSignatureLength,
)

#: AWS, attestation_process.md §3.1: a payload has at most 16384 bytes, and the NSM's answer to
#: a request at most 12288.
MAX_DOCUMENT: Final = 16 * 1024
#: {1: -35}: alg = ES384 (RFC 9053 §2.1).
PROTECTED: Final = bytes.fromhex("a1013822")
#: r‖s, 48 bytes each.
SIGNATURE_LENGTH: Final = 96

_TAG_18: Final = 0xD2
_ARRAY_OF_4: Final = 0x84
_EMPTY_MAP: Final = 0xA0
_TAG, _BYTES = 6, 2


@dataclass(frozen=True, slots=True)
class Sign1:
    """A COSE_Sign1 whose protected header is `PROTECTED`.

    Attributes:
        payload: The payload as received; the signature is over these very bytes.
        signature: 96 bytes, r‖s.
        tagged: Whether tag 18 was in front.
    """

    payload: bytes
    signature: bytes
    tagged: bool = False

    @property
    def to_be_signed(self) -> bytes:
        """`["Signature1", protected, h'', payload]` (RFC 9052 §4.4)."""
        return b"\x84\x6aSignature1\x44" + PROTECTED + b"\x40" + byte_string(self.payload)

    def encode(self) -> bytes:
        """The document's bytes; `read` gives them back."""
        return b"".join(
            (
                bytes([_TAG_18]) if self.tagged else b"",
                bytes([_ARRAY_OF_4]),
                byte_string(PROTECTED),
                bytes([_EMPTY_MAP]),
                byte_string(self.payload),
                byte_string(self.signature),
            )
        )


def byte_string(value: bytes) -> bytes:
    """A CBOR byte string with the shortest length (RFC 8949 §4.2.1)."""
    for info, width in ((24, 1), (25, 2), (26, 4)):
        if len(value) < 24:  # RFC 8949 §3
            return bytes([0x40 | len(value)]) + value
        if len(value) < 1 << (8 * width):
            return bytes([0x40 | info]) + len(value).to_bytes(width) + value
    raise ValueError("longer than any document")


def read(document: bytes) -> Sign1:
    """Take the outer layer apart.

    Raises:
        MalformedDocument: One of its subclasses, for the rule that is broken.
    """
    if len(document) > MAX_DOCUMENT:
        raise DocumentTooLarge(f"{len(document)} bytes, at most {MAX_DOCUMENT} are allowed")
    at, tagged = 0, False
    if document and document[0] >> 5 == _TAG:
        if document[0] != _TAG_18:
            raise UnexpectedTag("a CBOR tag other than 18 (COSE_Sign1)")
        at, tagged = 1, True
    if at >= len(document) or document[at] != _ARRAY_OF_4:
        raise NotCoseSign1("the document is not a COSE_Sign1 array of four")
    protected, at = _read_bytes(document, at + 1)
    if protected != PROTECTED:
        raise WrongAlgorithm("the protected header is not {1: -35} (ES384)")
    if at >= len(document) or document[at] != _EMPTY_MAP:
        raise UnprotectedHeader("the unprotected header is not an empty map")
    payload, at = _read_bytes(document, at + 1)
    signature, at = _read_bytes(document, at)
    if len(signature) != SIGNATURE_LENGTH:
        raise WrongSignatureLength(f"the signature has {len(signature)} bytes instead of 96")
    if at != len(document):
        raise TrailingBytes(f"{len(document) - at} bytes follow the document")
    return Sign1(payload=payload, signature=signature, tagged=tagged)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A definite, shortest-form byte string at `at`, and where it ends."""
    if at >= len(data):
        raise MalformedCbor("the document ends too early")
    major, info = data[at] >> 5, data[at] & 0x1F
    if major != _BYTES or info > 25:  # longer lengths are over 16 KiB
        raise NotCoseSign1("an element is not a byte string of definite length")
    start = at + 1
    length = info
    if info >= 24:  # RFC 8949 §3
        start += 1 << (info - 24)
        length = int.from_bytes(data[at + 1 : start])
    value = data[start : start + length]
    if start > len(data) or len(value) != length:
        raise MalformedCbor("the document ends too early")
    if byte_string(value) != data[at : start + length]:
        raise NotCoseSign1("a length that is not in its shortest form")
    return value, start + length
