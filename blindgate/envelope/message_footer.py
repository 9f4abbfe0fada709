"""The signature at the end of a message: ECDSA on P-384 with SHA-384, suite 0x0578 alone.

Specification: awslabs/aws-encryption-sdk-specification, `data-format/message-footer.md`, and
"ECDSA" in `framework/algorithm-suites.md`. The key that verifies it is in the encryption context
(`framework/structures.md`, "Encryption Context"): anyone who can write the message can sign it,
but someone who can only read it, with the data key, cannot change it.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA384

from blindgate.envelope.message_errors import MalformedMessage, MessageNotAuthentic

if TYPE_CHECKING:
    from blindgate.envelope.algorithm_suites import Suite

#: The reserved name in the encryption context.
VERIFICATION_KEY_NAME: Final = "aws-crypto-public-key"
#: A compressed point on P-384 (SEC 1 §2.3.3), and its base64.
_POINT_BYTES: Final = 49
_POINT_CHARACTERS: Final = 68
#: A signature length, in two bytes.
_LENGTH_BYTES: Final = 2
#: The longest DER of two integers of 384 bits: each has a sign byte, tag and length.
MAX_SIGNATURE_BYTES: Final = 2 + 2 * (2 + 1 + 48)

_ALGORITHM: Final = ECDSA(Prehashed(SHA384()))


def parse_verification_key(suite: Suite, encoded: str | None) -> EllipticCurvePublicKey | None:
    """The key that the encryption context names; None for a suite without signature.

    Args:
        suite: The suite of the message.
        encoded: The context's value under VERIFICATION_KEY_NAME, if it has one.

    Raises:
        MalformedMessage: There is a key without a signature, a signature without a key, or the
            key is not the base64 of a compressed point on P-384.
    """
    if suite.signs != (encoded is not None):
        raise MalformedMessage("the encryption context does not fit the suite's signature")
    if encoded is None:
        return None
    try:
        # Bounded before it is decoded, and strictly: no white space, no other padding.
        if len(encoded) != _POINT_CHARACTERS:
            raise ValueError
        point = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
        if len(point) != _POINT_BYTES:
            raise ValueError
        return EllipticCurvePublicKey.from_encoded_point(SECP384R1(), point)
    except ValueError:
        raise MalformedMessage("the verification key is not a point on P-384") from None


def parse_footer(footer: memoryview) -> bytes:
    """The signature in what follows the body, which is nothing but the footer.

    Raises:
        MalformedMessage: The footer is cut short, or something follows it.
    """
    length = int.from_bytes(footer[:_LENGTH_BYTES], "big")
    if len(footer) != _LENGTH_BYTES + length or not 0 < length <= MAX_SIGNATURE_BYTES:
        raise MalformedMessage("the footer does not have the length of a signature")
    return bytes(footer[_LENGTH_BYTES:])


def verify_signature(key: EllipticCurvePublicKey, signature: bytes, digest: bytes) -> None:
    """Verify the signature over the SHA-384 of header and body.

    Raises:
        MessageNotAuthentic: It does not match, or is not the DER of one.
    """
    try:
        key.verify(signature, digest, _ALGORITHM)
    except InvalidSignature:
        raise MessageNotAuthentic("the signature does not match") from None
