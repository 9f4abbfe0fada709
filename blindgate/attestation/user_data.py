"""What Blindgate's enclaves bind into a document's `user_data`.

A CBOR map (RFC 8949, deterministic encoding §4.2) with a purpose tag, so that a document made
for one purpose can never serve another. Client-facing documents bind digests instead of the
things themselves: a post-quantum key configuration alone would not fit into 512 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cbor2

from blindgate.attestation import cbor
from blindgate.attestation.errors import InvalidUserData, MalformedDocument

CLIENT_PURPOSE: Final = "blindgate/client/v1"
KMS_PURPOSE: Final = "blindgate/kms/v1"
#: Documents that KMS is shown bind the purpose only; what they carry is in `public_key`.
KMS_USER_DATA: Final = cbor2.dumps({"purpose": KMS_PURPOSE}, canonical=True)

_DIGEST_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class UserData:
    """What a client-facing document binds.

    Attributes:
        keys: SHA-256 of the `application/ohttp-keys` body.
        model: SHA-256 of the model's manifest.
        config: SHA-256 of the measured configuration.
    """

    keys: bytes
    model: bytes
    config: bytes

    def __post_init__(self) -> None:
        if any(len(d) != _DIGEST_LENGTH for d in (self.keys, self.model, self.config)):
            raise InvalidUserData("a digest in user_data is not a SHA-256")

    def encode(self) -> bytes:
        """The bytes for `user_data`, about 150 of them."""
        return cbor2.dumps(
            {
                "purpose": CLIENT_PURPOSE,
                "keys": self.keys,
                "model": self.model,
                "config": self.config,
            },
            canonical=True,
        )

    @classmethod
    def decode(cls, user_data: bytes | None) -> UserData:
        """Read `user_data` of a verified document.

        Raises:
            InvalidUserData: Absent, for another purpose, or not exactly this map.
        """
        if user_data is None:
            raise InvalidUserData("the document has no user_data")
        if purpose_of(user_data) != CLIENT_PURPOSE:
            raise InvalidUserData("the document was not made for clients")
        fields = cbor.decode(user_data)
        digests = {}
        for name in ("keys", "model", "config"):
            value = fields.get(name) if isinstance(fields, dict) else None
            if not isinstance(value, bytes):
                raise InvalidUserData(f"user_data has no digest {name}")
            digests[name] = value
        decoded = cls(**digests)
        # One meaning, one encoding: also refuses further fields.
        if decoded.encode() != user_data:
            raise InvalidUserData("user_data is not in its deterministic encoding")
        return decoded


def purpose_of(user_data: bytes | None) -> str | None:
    """The purpose tag of `user_data`, or None if it is not one of our maps."""
    try:
        fields = cbor.decode(user_data) if user_data is not None else None
    except MalformedDocument:
        return None
    purpose = fields.get("purpose") if isinstance(fields, dict) else None
    return purpose if isinstance(purpose, str) else None
