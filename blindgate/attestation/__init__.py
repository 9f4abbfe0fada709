"""Attestation documents of Nitro enclaves: parse, verify, and what Blindgate binds in them.

```python
trust = Trust(AWS_NITRO_ROOT, (PcrSet.from_file("release-7.json"),))
attestation = verify(document, trust=trust, nonce=nonce)
bound = UserData.decode(attestation.user_data)
```
"""

from __future__ import annotations

from blindgate.attestation.document import Document, parse
from blindgate.attestation.errors import (
    AttestationError,
    DebugMode,
    InvalidTrust,
    InvalidUserData,
    MalformedDocument,
    NotFresh,
    PcrMismatch,
    UntrustedChain,
    WrongMeasurements,
    WrongSignature,
)
from blindgate.attestation.trust import AWS_NITRO_ROOT, PcrSet, Root, Trust
from blindgate.attestation.user_data import (
    CLIENT_PURPOSE,
    KMS_PURPOSE,
    KMS_USER_DATA,
    UserData,
    purpose_of,
)
from blindgate.attestation.verify import Attestation, verify, verify_chain_and_signature

__all__ = [
    "AWS_NITRO_ROOT",
    "CLIENT_PURPOSE",
    "KMS_PURPOSE",
    "KMS_USER_DATA",
    "Attestation",
    "AttestationError",
    "DebugMode",
    "Document",
    "InvalidTrust",
    "InvalidUserData",
    "MalformedDocument",
    "NotFresh",
    "PcrMismatch",
    "PcrSet",
    "Root",
    "Trust",
    "UntrustedChain",
    "UserData",
    "WrongMeasurements",
    "WrongSignature",
    "parse",
    "purpose_of",
    "verify",
    "verify_chain_and_signature",
]
