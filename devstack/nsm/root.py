"""The dev root: what `aws.nitro-enclaves` is to AWS, with a name that nobody can mistake."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from blindgate.attestation import Root
from blindgate.errors import BlindgateError
from devstack.nsm.names import distinguished_name, usage
from devstack.nsm.randomness import Randomness, SystemRandomness

if TYPE_CHECKING:
    from typing import Self

CERTIFICATE_FILE: Final = "root.pem"
KEY_FILE: Final = "root.key.pem"
#: AWS's root: 2019-10-28 to 2049-10-28, an hour more than 30 years.
LIFETIME: Final = timedelta(days=10958, hours=1)


class DevRootError(BlindgateError):
    """The folder of a dev root cannot be read or written."""


@dataclass(frozen=True)
class DevRoot:
    """A self-signed P-384 authority for development.

    Attributes:
        certificate: Shaped as AWS's root.
        key: Its private key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate, for verifiers that are told to trust it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def root(self) -> Root:
        """The certificate as a verifier's pinned root."""
        return Root.from_pem(self.pem)

    @classmethod
    def generate(cls, *, now: datetime | None = None, randomness: Randomness | None = None) -> Self:
        """A new root in memory only."""
        randomness = randomness or SystemRandomness()
        key = randomness.key()
        begin = (now or datetime.now(UTC)).replace(microsecond=0) - timedelta(hours=1)
        name = distinguished_name("dev.nitro-enclaves")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(b"\x7f" + randomness.octets(15)))
            .not_valid_before(begin)
            .not_valid_after(begin + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
            .sign(key, hashes.SHA384(), ecdsa_deterministic=True)
        )
        return cls(certificate, key)

    @classmethod
    def create(cls, directory: Path | str) -> Self:
        """A new root, kept in a folder: `root.pem`, and `root.key.pem` for this user only.

        Raises:
            DevRootError: There is one already, or the folder cannot be written.
        """
        directory = Path(directory)
        made = cls.generate()
        private = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write_new(directory / KEY_FILE, private, 0o600)
            _write_new(directory / CERTIFICATE_FILE, made.pem, 0o644)
        except OSError as error:
            raise DevRootError(f"cannot create a root in {directory}: {error.strerror}") from error
        return made

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """The root that `create` kept.

        Raises:
            DevRootError: There is none, or its files do not belong together.
        """
        directory = Path(directory)
        try:
            certificate = x509.load_pem_x509_certificate(
                (directory / CERTIFICATE_FILE).read_bytes()
            )
            key = load_pem_private_key((directory / KEY_FILE).read_bytes(), password=None)
        except OSError as error:
            raise DevRootError(f"no root in {directory}: {error.strerror}") from error
        except (ValueError, TypeError):
            raise DevRootError(f"the root in {directory} cannot be read") from None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != certificate.public_key()
        ):
            raise DevRootError(f"certificate and key in {directory} do not belong together")
        return cls(certificate, key)

    @classmethod
    def load_or_create(cls, directory: Path | str) -> Self:
        """The root of a folder, made at the first call."""
        if (Path(directory) / KEY_FILE).exists():
            return cls.load(directory)
        return cls.create(directory)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
