"""The verifier: is this document from an enclave that I trust, and from now?

Order: well-formed, chain to the pinned root, signature, freshness, debug mode, measurements.
Nothing of a later step is looked at before the earlier ones hold.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from blindgate.attestation.chain import CLOCK_SKEW, public_key, verify_chain
from blindgate.attestation.document import parse
from blindgate.attestation.errors import (
    DebugMode,
    NonceMismatch,
    NonceMissing,
    PcrMismatch,
    TimestampInFuture,
    TimestampStale,
    WrongSignature,
)
from blindgate.attestation.trust import measures_nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blindgate.attestation.document import Document
    from blindgate.attestation.trust import PcrSet, Root, Trust

#: The age up to which KMS, too, is expected to take a document: without a nonce, nothing but its
#: timestamp says that it is fresh.
MAX_AGE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a verified document vouches for.

    Attributes:
        module_id: The NSM's name: `<instance id>-enc<enclave id>`.
        timestamp: When the document was made, by the NSM's clock (UTC).
        pcrs: Index to value, all locked PCRs.
        public_key: What the enclave put there, or None.
        user_data: What the enclave put there, or None; see `blindgate.attestation.user_data`.
        nonce: What the enclave put there, or None.
        pcr_set: The trusted set that matched; None if no measurements were asked for.
        chain: The certificates, root first, signing certificate last.
    """

    module_id: str
    timestamp: datetime
    pcrs: Mapping[int, bytes] = field(repr=False)
    public_key: bytes | None = field(repr=False)
    user_data: bytes | None = field(repr=False)
    nonce: bytes | None = field(repr=False)
    pcr_set: PcrSet | None
    chain: tuple[x509.Certificate, ...] = field(repr=False)

    @property
    def debug_mode(self) -> bool:
        """Whether the enclave runs in debug mode: PCR0, 1 or 2 is all zero."""
        return measures_nothing(self.pcrs)


def verify(
    document: bytes,
    *,
    trust: Trust,
    nonce: bytes | None = None,
    now: datetime | None = None,
    max_age: timedelta = MAX_AGE,
) -> Attestation:
    """Verify a document against a trust policy.

    Args:
        document: The document as received.
        trust: The pinned root and the PCR sets, one of which must match wholly.
        nonce: What was asked for; then the document must repeat it and its age does not matter.
            Without one, the document must be at most `max_age` old.
        now: The verifier's time, with a time zone; default: the clock.
        max_age: How old a document without a nonce may be.

    Returns:
        What the document vouches for, `pcr_set` being the set that matched.

    Raises:
        AttestationError: One of its subclasses, for the rule that is broken.
        ValueError: `now` has no time zone, or `nonce` is empty.
    """
    attestation = verify_chain_and_signature(
        document, root=trust.root, nonce=nonce, now=now, max_age=max_age
    )
    if attestation.debug_mode and not trust.allow_debug:
        raise DebugMode("the enclave runs in debug mode (PCR0, PCR1 or PCR2 is all zero)")
    differing = {s.name: s.differing(attestation.pcrs) for s in trust.pcr_sets}
    for pcr_set in trust.pcr_sets:
        if not differing[pcr_set.name]:
            return replace(attestation, pcr_set=pcr_set)
    raise PcrMismatch(differing)


def verify_chain_and_signature(
    document: bytes,
    *,
    root: Root,
    nonce: bytes | None = None,
    now: datetime | None = None,
    max_age: timedelta = MAX_AGE,
) -> Attestation:
    """Verify origin and freshness, **not the measurements**: debug mode passes, as it does in KMS.

    For who evaluates the PCRs in a policy of its own (a KMS). Everybody else calls `verify`.

    Args and errors are those of `verify`; `pcr_set` of the result is None.
    """
    if nonce is not None and not nonce:
        raise ValueError("an empty nonce proves nothing")
    if now is None:
        now = datetime.now(UTC)
    elif now.tzinfo is None:
        raise ValueError("now needs a time zone")
    parsed = parse(document)
    chain = verify_chain(parsed, root, now)
    _check_signature(parsed, public_key(chain[-1]))
    _check_freshness(parsed, nonce, now, max_age)
    return Attestation(
        module_id=parsed.module_id,
        timestamp=parsed.timestamp,
        pcrs=parsed.pcrs,
        public_key=parsed.public_key,
        user_data=parsed.user_data,
        nonce=parsed.nonce,
        pcr_set=None,
        chain=chain,
    )


def _check_signature(document: Document, key: ec.EllipticCurvePublicKey) -> None:
    half = len(document.sign1.signature) // 2
    r = int.from_bytes(document.sign1.signature[:half])
    s = int.from_bytes(document.sign1.signature[half:])
    try:
        key.verify(
            encode_dss_signature(r, s), document.sign1.to_be_signed, ec.ECDSA(hashes.SHA384())
        )
    except InvalidSignature:
        raise WrongSignature("the document's signature is wrong") from None


def _check_freshness(
    document: Document, nonce: bytes | None, now: datetime, max_age: timedelta
) -> None:
    age = now - document.timestamp
    if age < -CLOCK_SKEW:
        raise TimestampInFuture(f"the document is from {-age.total_seconds():.0f} s in the future")
    if nonce is None:
        if age > max_age:
            raise TimestampStale(
                f"the document is {age.total_seconds():.0f} s old, at most "
                f"{max_age.total_seconds():.0f} are allowed without a nonce"
            )
    elif document.nonce is None:
        raise NonceMissing("the document has no nonce")
    elif not hmac.compare_digest(document.nonce, nonce):
        raise NonceMismatch("the document answers another nonce")
