"""The two algorithm suites of the AWS Encryption SDK that commit to a key, and their keys.

Specification: awslabs/aws-encryption-sdk-specification, `framework/algorithm-suites.md` and, for
HKDF, RFC 5869. Suites without key commitment are not opened: with AES-GCM alone, one ciphertext
can be valid under two keys.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from blindgate.envelope.message_errors import MessageNotAuthentic

#: Encryption key length and key derivation input length of both suites: AES-256.
DATA_KEY_BYTES: Final = 32
#: IV length and authentication tag length of both suites.
IV_BYTES: Final = 12
TAG_BYTES: Final = 16
#: Algorithm suite data of both suites: the commitment to the data key.
COMMITMENT_BYTES: Final = 32
#: Message id of version 2 (`data-format/message-header.md`, "Header Body Version 2.0"), which is
#: also the salt of HKDF.
MESSAGE_ID_BYTES: Final = 32

_HASH: Final = "sha512"
_KEY_LABEL: Final = b"DERIVEKEY"
_COMMITMENT_LABEL: Final = b"COMMITKEY"


class Suite(IntEnum):
    """AES-256-GCM, HKDF with SHA-512, key commitment; the value is the algorithm suite id."""

    COMMIT_KEY = 0x0478
    #: The same with ECDSA on P-384 and SHA-384: what the stock libraries write by default.
    COMMIT_KEY_ECDSA_P384 = 0x0578

    @property
    def signs(self) -> bool:
        """Whether messages end with a signature."""
        return self is Suite.COMMIT_KEY_ECDSA_P384


@dataclass(frozen=True, slots=True)
class DerivedKeys:
    """What a data key becomes for one message.

    Attributes:
        encryption: The AES-256 key of header and body.
        commitment: What the header must contain, so that no other data key opens the message.
    """

    encryption: bytes = field(repr=False)
    commitment: bytes = field(repr=False)


def derive_keys(suite: Suite, data_key: bytes, message_id: bytes) -> DerivedKeys:
    """HKDF-SHA512 with the message id as salt ("HKDF", "Key Commitment").

    Both outputs are shorter than one SHA-512, so each is the first block of HKDF-Expand (RFC 5869
    §2.3) of the same extracted key (§2.2).

    Raises:
        MessageNotAuthentic: The data key is not of DATA_KEY_BYTES.
    """
    if len(data_key) != DATA_KEY_BYTES:
        raise MessageNotAuthentic("the data key has another length than the suite prescribes")
    extracted = hmac.digest(message_id, data_key, _HASH)
    info = suite.to_bytes(2, "big") + _KEY_LABEL
    return DerivedKeys(
        hmac.digest(extracted, info + b"\x01", _HASH)[:DATA_KEY_BYTES],
        hmac.digest(extracted, _COMMITMENT_LABEL + b"\x01", _HASH)[:COMMITMENT_BYTES],
    )
