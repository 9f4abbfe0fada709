"""Which enclaves this gateway sends traffic to, and how it checks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Root, Trust, verify
from gateway.pool import Verified, Verify

if TYPE_CHECKING:
    from gateway.settings import Settings


def trust_from(settings: Settings) -> Trust:
    """The trust policy of the settings.

    Raises:
        InvalidTrust: A file is missing or wrong, or there is no set of measurements.
    """
    root = Root.from_pem(settings.root.read_bytes()) if settings.root else AWS_NITRO_ROOT
    sets = tuple(PcrSet.from_file(path, allow_debug=settings.allow_debug) for path in settings.pcrs)
    return Trust(root, sets, allow_debug=settings.allow_debug)


def verifier(trust: Trust) -> Verify:
    """The check that the pool makes of every connection."""

    def check(document: bytes, nonce: bytes) -> Verified:
        attestation = verify(document, trust=trust, nonce=nonce)
        matched = attestation.pcr_set
        return Verified(matched.name if matched else "", attestation.pcrs[0])

    return check
