"""From the pinned root to the certificate that signed.

`cryptography`'s verifier builds the path and checks names, key identifiers and signatures. What
the Nitro PKI fixes beyond X.509 (P-384 everywhere, the bundle's order) and what deserves an
error of its own is checked before, so that a refusal says which rule was broken. No
certificate is fetched and no CRL consulted: the chain's own lifetimes are hours to days.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import SignatureAlgorithmOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from blindgate.attestation.errors import (
    BrokenChain,
    CertificateExpired,
    CertificateNotYetValid,
    ChainTooLong,
    IssuerIsNoCa,
    LeafIsCa,
    UnknownCriticalExtension,
    UnreadableCertificate,
    WrongCertificateAlgorithm,
    WrongKeyUsage,
    WrongRoot,
)

if TYPE_CHECKING:
    from blindgate.attestation.document import Document
    from blindgate.attestation.trust import Root

#: Clocks of a verifier and of a Nitro card may differ this much.
CLOCK_SKEW: Final = timedelta(seconds=60)
#: Root, region, zone, instance: what every real document has.
MAX_CABUNDLE: Final = 4

#: The extensions whose meaning is checked here.
_UNDERSTOOD: Final = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid})
#: What `cryptography` raises for certificates that it cannot read, by what it stumbles over; the
#: warning where warnings are errors.
_UNREADABLE: Final = (
    ValueError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

# The default policies ask for names and key identifiers that Nitro leaves do not have. What a
# certificate says in the extensions required here is checked in `_check_extensions`.
_CA_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, Criticality.AGNOSTIC, None)
)
_LEAF_POLICY: Final = _CA_POLICY


def verify_chain(document: Document, root: Root, now: datetime) -> tuple[x509.Certificate, ...]:
    """Verify the chain of a document at the time `now`.

    Args:
        document: A well-formed document.
        root: The pinned root; the bundle's own first certificate is only compared with it.
        now: The verifier's time, with a time zone.

    Returns:
        The certificates, root first, signing certificate last.

    Raises:
        UntrustedChain: One of its subclasses, for the rule that is broken.
    """
    if document.cabundle[0] != root.der:
        raise WrongRoot(f"the document was not issued under {root.name}")
    if len(document.cabundle) > MAX_CABUNDLE:
        raise ChainTooLong(f"{len(document.cabundle)} issuers, at most {MAX_CABUNDLE} are allowed")
    intermediates = [_load(der) for der in document.cabundle[1:]]
    leaf = _load(document.certificate)
    chain = (root.certificate, *intermediates, leaf)
    try:
        for certificate in chain:
            _check_algorithm(certificate)
        _check_extensions(chain)
    except _UNREADABLE as error:
        raise UnreadableCertificate(f"a certificate cannot be read ({error})") from None
    at = _time_within_skew(chain, now)
    verifier = (
        PolicyBuilder()
        .store(Store([root.certificate]))
        .time(at)
        .max_chain_depth(MAX_CABUNDLE - 1)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        built = verifier.verify(leaf, intermediates).chain
    except (VerificationError, ValueError) as error:
        raise BrokenChain(f"the certificates do not lead to the root ({error})") from None
    if tuple(reversed(built)) != chain:
        raise BrokenChain("the bundle is not the chain itself, root first")
    return chain


def public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The certificate's P-384 key.

    Raises:
        WrongCertificateAlgorithm: It has another key.
    """
    try:
        key = certificate.public_key()
    except Exception as error:  # noqa: BLE001 (UnsupportedAlgorithm, ValueError, by key type)
        raise WrongCertificateAlgorithm(
            f"{_name(certificate)} has a key that cannot be read ({error})"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise WrongCertificateAlgorithm(f"{_name(certificate)} has no P-384 key")
    return key


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        readable = certificate.serial_number > 0  # RFC 5280 §4.1.2.2
    except _UNREADABLE as error:
        raise UnreadableCertificate(f"a certificate cannot be read ({error})") from None
    if not readable:
        raise UnreadableCertificate("a certificate's serial number is not positive")
    return certificate


def _check_algorithm(certificate: x509.Certificate) -> None:
    public_key(certificate)
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise WrongCertificateAlgorithm(
            f"{_name(certificate)} is not signed with ECDSA and SHA-384"
        )


def _check_extensions(chain: tuple[x509.Certificate, ...]) -> None:
    """Authorities may issue, within their path lengths; the leaf may sign and nothing else."""
    for certificate in chain:
        for extension in certificate.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                raise UnknownCriticalExtension(
                    f"{_name(certificate)} has the critical extension {extension.oid.dotted_string}"
                )
    *authorities, leaf = chain
    for position, authority in enumerate(authorities):
        constraints = _extension(authority, x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            raise IssuerIsNoCa(f"{_name(authority)} is no authority")
        below = len(authorities) - position - 1
        if constraints.path_length is not None and below > constraints.path_length:
            raise ChainTooLong(
                f"{_name(authority)} permits {constraints.path_length} authorities below it, "
                f"not {below}"
            )
        usage = _extension(authority, x509.KeyUsage)
        if usage is None or not usage.key_cert_sign:
            raise WrongKeyUsage(f"{_name(authority)} may not sign certificates")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is None or constraints.ca:
        raise LeafIsCa(f"{_name(leaf)} signed the document and is not marked as no authority")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise WrongKeyUsage(f"{_name(leaf)} may not sign documents")


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _time_within_skew(chain: tuple[x509.Certificate, ...], now: datetime) -> datetime:
    """The time to verify at: `now`, or up to CLOCK_SKEW later if a certificate begins then.

    Skew is granted at the beginning only: a leaf begins seconds before it is first used, and
    has three hours left then.
    """
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            raise CertificateExpired(
                f"{_name(certificate)} expired at {certificate.not_valid_after_utc:{_TIME}}"
            )
    begin = max(certificate.not_valid_before_utc for certificate in chain)
    if begin > now + CLOCK_SKEW:
        raise CertificateNotYetValid(f"the chain is not valid before {begin:{_TIME}}")
    return max(now, begin)


def _name(certificate: x509.Certificate) -> str:
    """A printable, bounded name: subjects are untrusted until the chain is."""
    try:
        text = certificate.subject.rfc4514_string()
    except ValueError:
        return "a certificate"
    return repr(text)[1:-1][:120]
