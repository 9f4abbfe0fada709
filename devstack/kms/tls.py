"""A certificate authority of our own, and the certificate of KMS's real host name.

Clients verify it as they verify AWS: chain, host name, validity. Only the root differs, and it
is given to them as a CA bundle, so nothing in a client knows that it talks to a stand-in.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blindgate.atomic_files import write_file

if TYPE_CHECKING:
    from pathlib import Path

_LIFETIME = timedelta(days=365)
#: A certificate that ends sooner is replaced when the service starts.
_RENEW_BEFORE = timedelta(days=7)
#: Some clocks are behind.
_BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files are.

    Attributes:
        ca: The authority's certificate: the CA bundle of clients.
        certificate: The server's certificate.
        key: The server's private key.
    """

    ca: Path
    certificate: Path
    key: Path


def ensure_certificates(folder: Path, region: str, *, now: datetime | None = None) -> Certificates:
    """Make the authority and the server's certificate, unless good ones are there.

    Args:
        folder: Gets `ca.pem`, `ca.key`, `server.pem` and `server.key`.
        region: The certificate is for `kms.<region>.amazonaws.com`, localhost and 127.0.0.1.
        now: The time; the clock's by default.

    Returns:
        The paths.
    """
    now = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca, ca_key, made = _authority(paths.ca, folder / "ca.key", now)
    names = [f"kms.{region}.amazonaws.com", "localhost"]
    if made or not _serves(paths, names, now):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server_certificate(names, key.public_key(), ca, ca_key, now)
        _write_key(paths.key, key)
        paths.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    return paths


def _authority(
    path: Path, key_path: Path, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    if path.exists() and key_path.exists():
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and _lasts(certificate, now):
            return certificate, key, False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Blindgate dev KMS authority")])
    certificate = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_path, key)
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate, key, True


def _server_certificate(
    names: list[str],
    key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(subject, ca.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    # The subject key identifier is what Python's strict verification flags look for.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _serves(paths: Certificates, names: list[str], now: datetime) -> bool:
    if not (paths.certificate.exists() and paths.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return _lasts(certificate, now) and extension.value.get_values_for_type(x509.DNSName) == names


def _lasts(certificate: x509.Certificate, now: datetime) -> bool:
    return now + _RENEW_BEFORE < certificate.not_valid_after_utc


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_file(path, content, mode=0o600)
