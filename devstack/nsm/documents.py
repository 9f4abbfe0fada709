"""Writing and signing a document as the NSM does since 2025, to the byte.

Untagged COSE_Sign1; the payload is an indefinite-length map in a fixed order, and an optional
that was not asked for is there with the value null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from blindgate.attestation.cose import SIGNATURE_LENGTH, Sign1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def encode_payload(
    *,
    module_id: str,
    timestamp_ms: int,
    pcrs: Mapping[int, bytes],
    certificate: bytes,
    cabundle: Sequence[bytes],
    public_key: bytes | None = None,
    user_data: bytes | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """The payload's CBOR."""
    return encode_fields(
        {
            "module_id": module_id,
            "digest": "SHA384",
            "timestamp": timestamp_ms,
            "pcrs": dict(pcrs),
            "certificate": certificate,
            "cabundle": list(cabundle),
            "public_key": public_key,
            "user_data": user_data,
            "nonce": nonce,
        }
    )


def encode_fields(fields: Mapping[str, object]) -> bytes:
    """An indefinite-length map of the fields, in their order."""
    pairs = (cbor2.dumps(name) + cbor2.dumps(value) for name, value in fields.items())
    return b"\xbf" + b"".join(pairs) + b"\xff"


def sign(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The document: `payload` signed with ES384 (RFC 9053 §2.1)."""
    to_be_signed = Sign1(payload, b"").to_be_signed
    # Deterministic (RFC 6979), so that published vectors can be made again.
    der = key.sign(to_be_signed, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    half = SIGNATURE_LENGTH // 2
    signature = b"".join(number.to_bytes(half) for number in decode_dss_signature(der))
    return Sign1(payload, signature).encode()
