"""HKDF with SHA-256 (RFC 5869) and HPKE's labels on it (RFC 9180 §4).

Whatever HPKE and OHTTP derive here fits one SHA-256, so one HMAC makes it. The labelled info
is a function of its own: it does not depend on secrets and can be built long before them.
"""

from __future__ import annotations

import hmac
from typing import Final

#: Nh: bytes of a hash, of an extracted key, and the most that `expand` gives.
HASH_SIZE: Final = 32

_HASH: Final = "sha256"
_VERSION: Final = b"HPKE-v1"


def extract(salt: bytes, input_key: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 §2.2); no salt and 32 zero bytes are the same key to HMAC."""
    return hmac.digest(salt, input_key, _HASH)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """The first block of HKDF-Expand (RFC 5869 §2.3).

    Raises:
        ValueError: More than one block is asked for.
    """
    if length > HASH_SIZE:
        raise ValueError(f"at most {HASH_SIZE} bytes are derived at once")
    return hmac.digest(key, info + b"\x01", _HASH)[:length]


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, input_key: bytes) -> bytes:
    """LabeledExtract (RFC 9180 §4)."""
    return extract(salt, _VERSION + suite_id + label + input_key)


def labeled_info(suite_id: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """What LabeledExpand (RFC 9180 §4) gives to `expand` for `length` bytes."""
    return length.to_bytes(2, "big") + _VERSION + suite_id + label + info
