"""Why an attestation document is refused: one error for each rule.

Every class carries `rule`, a stable slug for logs, vectors and other languages. The families
(`MalformedDocument`, `UntrustedChain`, `NotFresh`, `WrongMeasurements`) let a caller catch a
whole step of `blindgate.attestation.verify.verify`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import Mapping


class AttestationError(BlindgateError):
    """Base of all refusals and of every misuse of a trust policy."""

    rule: ClassVar[str] = "attestation"


# -- The document cannot be read (AWS, "attestation_process.md", syntactical validation) -------


class MalformedDocument(AttestationError):
    """The bytes are not an attestation document; nothing in them was believed."""

    rule = "malformed"


class DocumentTooLarge(MalformedDocument):
    """The document is longer than the 16 KiB that the NSM can emit."""

    rule = "document-too-large"


class MalformedCbor(MalformedDocument):
    """Truncated CBOR, or an item of a kind that no document contains."""

    rule = "malformed-cbor"


class TrailingBytes(MalformedDocument):
    """Something follows the document or its payload."""

    rule = "trailing-bytes"


class UnexpectedTag(MalformedDocument):
    """A CBOR tag other than 18 (COSE_Sign1) in front, or any tag inside."""

    rule = "unexpected-tag"


class DuplicateKey(MalformedDocument):
    """A map has the same key twice, so two readers could see two documents."""

    rule = "duplicate-key"


class NotCoseSign1(MalformedDocument):
    """The outer item is not the four-element array of RFC 9052 §4.2."""

    rule = "not-cose-sign1"


class WrongAlgorithm(MalformedDocument):
    """The protected header is not exactly `{1: -35}`, ES384."""

    rule = "wrong-algorithm"


class UnprotectedHeader(MalformedDocument):
    """The unprotected header, which no signature covers, is not empty."""

    rule = "unprotected-header"


class WrongSignatureLength(MalformedDocument):
    """The signature is not the 96 bytes r‖s of ES384 (RFC 9053 §2.1)."""

    rule = "signature-length"


class MissingField(MalformedDocument):
    """A required field is absent or null."""

    rule = "missing-field"


class WrongFieldType(MalformedDocument):
    """A field has another CBOR type than the specification gives it."""

    rule = "wrong-field-type"


class InvalidModuleId(MalformedDocument):
    """The module id is empty."""

    rule = "invalid-module-id"


class UnknownDigest(MalformedDocument):
    """The digest is not SHA384."""

    rule = "unknown-digest"


class InvalidTimestamp(MalformedDocument):
    """The timestamp is zero or beyond what a calendar holds."""

    rule = "invalid-timestamp"


class InvalidPcrCount(MalformedDocument):
    """There is no PCR, or more than 32."""

    rule = "invalid-pcr-count"


class InvalidPcrIndex(MalformedDocument):
    """A PCR index is not in 0..31."""

    rule = "invalid-pcr-index"


class InvalidPcrLength(MalformedDocument):
    """A PCR value is not 32, 48 or 64 bytes long."""

    rule = "invalid-pcr-length"


class InvalidCertificateLength(MalformedDocument):
    """The certificate, or one of the bundle, is not 1..1024 bytes long."""

    rule = "invalid-certificate-length"


class EmptyCabundle(MalformedDocument):
    """The bundle of issuing certificates is empty."""

    rule = "empty-cabundle"


class InvalidOptionalLength(MalformedDocument):
    """public_key, user_data or nonce is longer than 1024 bytes, or the public key is empty."""

    rule = "invalid-optional-length"


# -- The certificates do not lead to the pinned root ---------------------------------------------


class UntrustedChain(AttestationError):
    """The signing certificate is not one that the pinned root vouches for."""

    rule = "untrusted-chain"


class WrongRoot(UntrustedChain):
    """The bundle starts with another root than the pinned one."""

    rule = "wrong-root"


class UnreadableCertificate(UntrustedChain):
    """A certificate is not X.509 that can be read."""

    rule = "unreadable-certificate"


class WrongCertificateAlgorithm(UntrustedChain):
    """A certificate has a key other than P-384, or a signature other than ECDSA with SHA-384."""

    rule = "wrong-certificate-algorithm"


class CertificateExpired(UntrustedChain):
    """A certificate's validity has ended."""

    rule = "certificate-expired"


class CertificateNotYetValid(UntrustedChain):
    """A certificate's validity begins further in the future than clocks may differ."""

    rule = "certificate-not-yet-valid"


class ChainTooLong(UntrustedChain):
    """More certificates than a path length constraint, or our own limit, permits."""

    rule = "chain-too-long"


class LeafIsCa(UntrustedChain):
    """The signing certificate is itself an authority."""

    rule = "leaf-is-ca"


class IssuerIsNoCa(UntrustedChain):
    """A certificate of the bundle is not an authority."""

    rule = "issuer-is-no-ca"


class WrongKeyUsage(UntrustedChain):
    """A certificate may not be used for what the chain uses it for."""

    rule = "wrong-key-usage"


class UnknownCriticalExtension(UntrustedChain):
    """A certificate demands that a verifier understand more than ours does (RFC 5280 §4.2)."""

    rule = "unknown-critical-extension"


class BrokenChain(UntrustedChain):
    """Names, key identifiers or signatures do not link one certificate to the next."""

    rule = "broken-chain"


# -- The signature --------------------------------------------------------------------------------


class WrongSignature(AttestationError):
    """The payload was not signed by the key of the document's certificate."""

    rule = "wrong-signature"


# -- Freshness ------------------------------------------------------------------------------------


class NotFresh(AttestationError):
    """The document may be a replay. Ask for a new one, with a new nonce."""

    rule = "not-fresh"


class NonceMissing(NotFresh):
    """A nonce was asked for and the document has none."""

    rule = "nonce-missing"


class NonceMismatch(NotFresh):
    """The document answers another nonce."""

    rule = "nonce-mismatch"


class TimestampStale(NotFresh):
    """Without a nonce, the document is older than allowed."""

    rule = "timestamp-stale"


class TimestampInFuture(NotFresh):
    """The document was made further in the future than clocks may differ."""

    rule = "timestamp-in-future"


# -- Measurements ---------------------------------------------------------------------------------


class WrongMeasurements(AttestationError):
    """A genuine enclave, but not one that the caller trusts."""

    rule = "wrong-measurements"


class DebugMode(WrongMeasurements):
    """PCR0, 1 or 2 is all zero: a debug-mode enclave, whose console its parent can read."""

    rule = "debug-mode"


class PcrMismatch(WrongMeasurements):
    """No PCR set of the trust policy matches.

    Attributes:
        differing: For each set's name, the PCR indexes that differ or are absent.
    """

    rule = "pcr-mismatch"

    def __init__(self, differing: Mapping[str, tuple[int, ...]]) -> None:
        self.differing = dict(differing)
        sets = "; ".join(
            f"{name}: PCR{', PCR'.join(map(str, indexes))}" for name, indexes in differing.items()
        )
        super().__init__(f"the measurements match no trusted PCR set (differing: {sets})")


class InvalidUserData(AttestationError):
    """`user_data` is not the map that Blindgate's documents bind, or for another purpose."""

    rule = "invalid-user-data"


# -- The caller's own policy ----------------------------------------------------------------------


class InvalidTrust(AttestationError):
    """The trust policy itself is wrong: fix the file or the call."""

    rule = "invalid-trust"


class InvalidPcrSet(InvalidTrust):
    """A PCR set is incomplete, malformed, or its file cannot be read."""

    rule = "invalid-pcr-set"


class ZeroPcrs(InvalidPcrSet):
    """A PCR set with an all-zero PCR0, 1 or 2 would trust every debug-mode enclave."""

    rule = "zero-pcrs"


class InvalidRoot(InvalidTrust):
    """A root certificate cannot be read, or is not the one that is pinned."""

    rule = "invalid-root"
