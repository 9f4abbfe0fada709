"""Which enclaves this gateway sends traffic to, and how it checks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindgate.attestation import AWS_NITRO_ROOT, InvalidTrust, PcrSet, Root, Trust, verify
from blindgate.attestation.errors import InvalidRoot
from gateway.pool import Verified, Verify

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


def trust_from(settings: Settings) -> Trust:
    """The trust policy of the settings.

    Raises:
        InvalidTrust: A file is missing or wrong, or there is no set of measurements.
    """
    if not settings.pcrs:
        raise InvalidTrust("no measurements given: add --pcrs FILE, or set BLINDGATE_PCRS")
    root = AWS_NITRO_ROOT if settings.root is None else _root(settings.root)
    sets = tuple(PcrSet.from_file(path, allow_debug=settings.allow_debug) for path in settings.pcrs)
    return Trust(root, sets, allow_debug=settings.allow_debug)


def _root(path: Path) -> Root:
    try:
        return Root.from_file(path)
    except OSError as error:
        raise InvalidRoot(f"cannot read {path}: {error.strerror}") from None


def verifier(trust: Trust) -> Verify:
    """The check that the pool makes of every connection."""

    def check(document: bytes, nonce: bytes) -> Verified:
        attestation = verify(document, trust=trust, nonce=nonce)
        matched = attestation.pcr_set
        return Verified(matched.name if matched else "", attestation.pcrs[0])

    return check
