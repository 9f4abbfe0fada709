"""The `Recipient` of a request: an attestation document, believed only when it is verified.

KMS Developer Guide, "Cryptographic attestation support in AWS KMS". Neither the texts of KMS's
refusals nor its age limit are public; ours are ValidationException and five minutes. Like KMS,
this does not refuse debug mode: a key policy does, by naming PCRs that are not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from blindgate.attestation import AttestationError, verify_chain_and_signature
from devstack.kms.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from blindgate.attestation import Root
    from devstack.kms.conditions import Context

MIN_RSA_BITS = 2048
#: What fits into the 1024 bytes of a document's public_key, and bounds the cost of encrypting.
MAX_RSA_BITS = 4096


@dataclass(frozen=True, slots=True)
class Recipient:
    """A verified recipient.

    Attributes:
        public_key: The RSA key to which the answer is encrypted.
        pcrs: The measurements that the document vouches for.
    """

    public_key: RSAPublicKey
    pcrs: Mapping[int, bytes]

    def context(self) -> Context:
        """The condition keys that the document contributes."""
        made: Context = {
            f"kms:recipientattestation:pcr{index}": (value.hex(),)
            for index, value in self.pcrs.items()
        }
        if 0 in self.pcrs:
            made["kms:recipientattestation:imagesha384"] = (self.pcrs[0].hex(),)
        return made


def verify_recipient(document: bytes, *, root: Root, now: datetime) -> Recipient:
    """Verify an attestation document and take its key.

    Args:
        document: The COSE_Sign1 bytes.
        root: The root under which it must have been made.
        now: The time of the request.

    Raises:
        KmsError: ValidationException, saying which rule the document breaks.
    """
    try:
        attestation = verify_chain_and_signature(document, root=root, now=now)
    except AttestationError as error:
        raise invalid(f"The attestation document is not valid: {error}") from None
    if attestation.public_key is None:
        raise invalid("The attestation document has no public key.")
    try:
        key = load_der_public_key(attestation.public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise invalid("The public key of the attestation document is no DER SPKI.") from None
    if not isinstance(key, RSAPublicKey) or not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise invalid(
            "The public key of the attestation document must be RSA, "
            f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits."
        )
    return Recipient(key, attestation.pcrs)
