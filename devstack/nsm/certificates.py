"""The five certificates of a document, issued and renewed as the Nitro PKI does.

| level    | lifetime  | back-dated | pathLen | renewed when less is left than |
|----------|-----------|------------|---------|--------------------------------|
| region   | 20 d      | 1 h        | 2       | 7 d                            |
| zone     | 5 d 18 h  | 1 h        | 1       | 26 h                           |
| instance | 24 h      | no         | 0       | 4 h                            |
| leaf     | 3 h       | 3 s        | no CA   | 15 min                         |

So a certificate never outlives its issuer, and a leaf may be 2 h 45 min old when it is used.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from devstack.nsm.names import (
    ModuleId,
    distinguished_name,
    instance_name,
    usage,
    zonal_name,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from devstack.nsm.randomness import Randomness
    from devstack.nsm.root import DevRoot

_HOUR: Final = timedelta(hours=1)
_NONE: Final = timedelta()


@dataclass(frozen=True, slots=True)
class Level:
    """One row of the table above."""

    lifetime: timedelta
    back_dated: timedelta
    renew: timedelta
    path_length: int | None = None


REGION: Final = Level(timedelta(days=20), _HOUR, timedelta(days=7), 2)
ZONE: Final = Level(timedelta(days=5, hours=18), _HOUR, timedelta(hours=26), 1)
INSTANCE: Final = Level(timedelta(hours=24), _NONE, timedelta(hours=4), 0)
LEAF: Final = Level(timedelta(hours=3), timedelta(seconds=3), timedelta(minutes=15))


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the key it speaks for."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate's DER, at most 1024 bytes."""
        return self.certificate.public_bytes(Encoding.DER)


class CertificateChain:
    """Certificates of one enclave, renewed as time passes."""

    def __init__(
        self, root: DevRoot, module: ModuleId, region: str, randomness: Randomness
    ) -> None:
        self._root = Issued(root.certificate, root.key)
        self._module = module
        self._region = region
        self._randomness = randomness
        self._below: list[Issued] = []

    def at(self, now: datetime) -> tuple[Issued, ...]:
        """The chain to sign with at `now`: root, region, zone, instance, leaf."""
        levels = (REGION, ZONE, INSTANCE, LEAF)
        issue = (self._issue_region, self._issue_zone, self._issue_instance, self._issue_leaf)
        kept = 0
        for issued, level in zip(self._below, levels, strict=False):
            certificate = issued.certificate
            if not (
                certificate.not_valid_before_utc <= now
                and now + level.renew <= certificate.not_valid_after_utc
            ):
                break
            kept += 1
        # What hangs below a renewed certificate names the old one as its issuer: renew it too.
        chain = [self._root, *self._below[:kept]]
        for make in issue[kept:]:
            chain.append(make(chain[-1], now.replace(microsecond=0)))
        self._below = chain[1:]
        return tuple(chain)

    def _issue_region(self, issuer: Issued, now: datetime) -> Issued:
        name = f"{self._randomness.octets(8).hex()}.{self._region}.dev.nitro-enclaves"
        return self._issue_upper(issuer, now, REGION, distinguished_name(name))

    def _issue_zone(self, issuer: Issued, now: datetime) -> Issued:
        name = f"{self._randomness.octets(8).hex()}.zonal.{self._region}.dev.nitro-enclaves"
        return self._issue_upper(issuer, now, ZONE, zonal_name(name))

    def _issue_upper(
        self, issuer: Issued, now: datetime, level: Level, subject: x509.Name
    ) -> Issued:
        key = self._randomness.key()
        list_id = uuid.UUID(bytes=self._randomness.octets(16), version=4)
        # The addresses lead nowhere; neither AWS's verifiers nor ours ask for CRLs.
        crl = x509.UniformResourceIdentifier(f"http://crl.dev.invalid/crl/{list_id}.crl")
        return self._sign(
            self._builder(issuer, now, level, subject, key, self._randomness.octets(15))
            .add_extension(_authority(issuer), critical=False)
            .add_extension(_subject_key(key), critical=False)
            .add_extension(usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
            .add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint([crl], None, None, None)]),
                critical=False,
            ),
            issuer,
            key,
        )

    def _issue_instance(self, issuer: Issued, now: datetime) -> Issued:
        key = self._randomness.key()
        name = f"{self._module.instance_id}.{self._region}.dev.nitro-enclaves"
        return self._sign(
            self._builder(
                issuer, now, INSTANCE, instance_name(name), key, self._randomness.octets(19)
            )
            .add_extension(usage("key_cert_sign"), critical=True)
            .add_extension(_subject_key(key), critical=False)
            .add_extension(_authority(issuer), critical=False),
            issuer,
            key,
        )

    def _issue_leaf(self, issuer: Issued, now: datetime) -> Issued:
        key = self._randomness.key()
        # AWS's serial: the enclave's id, four zero bytes, the second of issue.
        serial = self._module.enclave + bytes(4) + int(now.timestamp()).to_bytes(4)
        name = f"{self._module}.{self._region}.dev"
        return self._sign(
            self._builder(issuer, now, LEAF, instance_name(name), key, serial).add_extension(
                usage("digital_signature", "content_commitment"), critical=False
            ),
            issuer,
            key,
        )

    @staticmethod
    def _builder(
        issuer: Issued,
        now: datetime,
        level: Level,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        serial: bytes,
    ) -> x509.CertificateBuilder:
        is_authority = level.path_length is not None
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject)
            .public_key(key.public_key())
            # A first byte of 0x7f keeps random serials positive and of one length.
            .serial_number(int.from_bytes((b"\x7f" if is_authority else b"") + serial))
            .not_valid_before(now - level.back_dated)
            .not_valid_after(now + level.lifetime)
            .add_extension(
                x509.BasicConstraints(ca=is_authority, path_length=level.path_length),
                critical=True,
            )
        )

    @staticmethod
    def _sign(
        builder: x509.CertificateBuilder, issuer: Issued, key: ec.EllipticCurvePrivateKey
    ) -> Issued:
        return Issued(builder.sign(issuer.key, hashes.SHA384(), ecdsa_deterministic=True), key)


def _subject_key(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _authority(issuer: Issued) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)
