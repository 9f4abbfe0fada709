"""Makes attestation documents that break a rule of one's choice, and nothing else.

Everything is derived from names, so that the published vectors can be made again to the byte.
The private keys are therefore public: never trust this root anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from asn1crypto import x509 as asn1
from asn1crypto.core import OctetBitString
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blindgate.attestation import PcrSet, Root
from devstack.nsm import DevRoot
from devstack.nsm.certificates import CertificateChain, Issued
from devstack.nsm.documents import encode_fields, sign
from devstack.nsm.names import ModuleId, usage

#: The order of P-384's base point (SEC 2 §2.5.1).
P384_ORDER: Final = int(
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
    16,
)
#: When all forged documents were made.
NOW: Final = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
MODULE_ID: Final = "i-0368fa67e156d6d23-enc019b8596b1a9dad6"
NONCE: Final = bytes(range(32))
ABSENT: Final = object()


class SeededRandomness:
    """Keys and bytes that anyone can make again."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def octets(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(b"%s/%d" % (self._seed, self._count)).digest(count)

    def key(self) -> ec.EllipticCurvePrivateKey:
        return derived_key(f"{self._seed.decode()}/{self._count}", ec.SECP384R1())


def derived_key(seed: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    """A key from a text."""
    # One bit less than the curve's order is always in range.
    length = curve.key_size // 8
    number = int.from_bytes(hashlib.shake_256(seed.encode()).digest(length)) >> 1 | 1
    return ec.derive_private_key(number, curve)


ROOT: Final = DevRoot.generate(
    now=datetime(2026, 1, 1, tzinfo=UTC), randomness=SeededRandomness("vectors/root")
)
OTHER_ROOT: Final = DevRoot.generate(
    now=datetime(2026, 1, 1, tzinfo=UTC), randomness=SeededRandomness("vectors/other")
)
PINNED: Final = Root.from_pem(ROOT.pem)


def pcr(text: str) -> bytes:
    """A measurement of something."""
    return hashlib.sha384(text.encode()).digest()


PCRS: Final[Mapping[int, bytes]] = {
    **{index: bytes(48) for index in range(16)},
    **{index: pcr(f"image/{index}") for index in (0, 1, 2)},
    3: pcr("role"),
    4: pcr("instance"),
    8: pcr("signer"),
}
#: What the documents with a short chain have.
IMAGE_PCRS: Final = {i: PCRS[i] for i in (0, 1, 2)}
BLUE: Final = PcrSet("blue", IMAGE_PCRS)
GREEN: Final = PcrSet("green", {i: pcr(f"green/{i}") for i in (0, 1, 2)})


def nitro_chain(root: DevRoot = ROOT, *, now: datetime = NOW) -> tuple[Issued, ...]:
    """A chain as the dev NSM issues it: root, region, zone, instance, leaf."""
    module = ModuleId.parse(MODULE_ID)
    chain = CertificateChain(root, module, "us-east-1", SeededRandomness("vectors/chain"))
    return chain.at(now)


@dataclass(frozen=True)
class Link:
    """One certificate below the root; the defaults are valid."""

    name: str
    ca: bool | None = True
    path_length: int | None = None
    usages: tuple[str, ...] = ("key_cert_sign",)
    begin: timedelta = -timedelta(hours=1)
    end: timedelta = timedelta(hours=3)
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)
    algorithm: hashes.SHA256 | hashes.SHA384 = field(default_factory=hashes.SHA384)
    critical: bytes | None = None
    issuer_key: ec.EllipticCurvePrivateKey | None = None


REGION = Link("region", path_length=2)
ZONE = Link("zone", path_length=1)
INSTANCE = Link("instance", path_length=0)
LEAF = Link("leaf", ca=False, usages=("digital_signature", "content_commitment"))
LINKS: Final = (REGION, ZONE, INSTANCE, LEAF)


def with_link(changed: Link, **changes: Any) -> tuple[Link, ...]:
    """The valid links with one of them changed."""
    return tuple(replace(link, **changes) if link is changed else link for link in LINKS)


def chain_of(links: Sequence[Link], root: DevRoot = ROOT) -> tuple[Issued, ...]:
    """Issue the links under a root."""
    chain = [Issued(root.certificate, root.key)]
    for position, link in enumerate(links):
        issuer = chain[-1]
        key = derived_key(f"vectors/{link.name}", link.curve)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, link.name)]))
            .issuer_name(issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(position + 1)
            .not_valid_before(NOW + link.begin)
            .not_valid_after(NOW + link.end)
        )
        if link.ca is not None:
            constraints = x509.BasicConstraints(ca=link.ca, path_length=link.path_length)
            builder = builder.add_extension(constraints, critical=True)
        if link.usages:
            builder = builder.add_extension(usage(*link.usages), critical=True)
        if link.critical is not None:
            oid = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
            builder = builder.add_extension(
                x509.UnrecognizedExtension(oid, link.critical), critical=True
            )
        issuer_key = link.issuer_key or issuer.key
        certificate = builder.sign(issuer_key, link.algorithm, ecdsa_deterministic=True)
        chain.append(Issued(certificate, key))
    return tuple(chain)


def reissued(
    chain: Sequence[Issued],
    position: int,
    *,
    body: Callable[[asn1.TbsCertificate], None] = lambda _: None,
    signature: Callable[[bytes], bytes] = lambda der: der,
    whole: Callable[[bytes], bytes] = lambda der: der,
) -> tuple[bytes, ...]:
    """The certificates of a chain, one of which no library would make.

    Args:
        chain: A valid chain.
        position: Which certificate is changed.
        body: Changes what its issuer then signs.
        signature: Changes the DER of that signature.
        whole: Changes the whole certificate's DER.
    """
    ders = [issued.der for issued in chain]
    certificate = asn1.Certificate.load(ders[position])
    tbs = certificate["tbs_certificate"]
    body(tbs)
    algorithm = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)
    signed = chain[position - 1].key.sign(tbs.dump(force=True), algorithm)
    certificate["signature_value"] = OctetBitString(signature(signed))
    ders[position] = whole(certificate.dump(force=True))
    return tuple(ders)


def with_certificates(ders: Sequence[bytes], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A document that carries these certificates, root first, signed with the leaf's key."""
    fields = payload_fields(SHORT, certificate=ders[-1], cabundle=list(ders[:-1]))
    return sign(encode_fields(fields), key)


def twin(signature: bytes) -> bytes:
    """(r, n - s): the other signature that verifies wherever (r, s) does."""
    s = int.from_bytes(signature[48:])
    return signature[:48] + (P384_ORDER - s).to_bytes(48)


def payload_fields(chain: Sequence[Issued], **changes: object) -> dict[str, object]:
    """The payload's fields in order; a change to ABSENT leaves one out."""
    *issuers, leaf = chain
    fields: dict[str, object] = {
        "module_id": MODULE_ID,
        "digest": "SHA384",
        "timestamp": int(NOW.timestamp() * 1000),
        "pcrs": dict(PCRS if len(chain) == len(LINKS) + 1 else IMAGE_PCRS),
        "certificate": leaf.der,
        "cabundle": [issuer.der for issuer in issuers],
        "public_key": None,
        "user_data": None,
        "nonce": NONCE,
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not ABSENT}


def payload(chain: Sequence[Issued], **changes: object) -> bytes:
    """The payload's CBOR."""
    return encode_fields(payload_fields(chain, **changes))


def document(chain: Sequence[Issued] | None = None, **changes: object) -> bytes:
    """A signed document, valid but for the changes."""
    chain = nitro_chain() if chain is None else chain
    return sign(payload(chain, **changes), chain[-1].key)


#: For rules that are not about chains: as valid as a Nitro one, and half as long.
SHORT: Final = chain_of([ZONE, LEAF])


@dataclass(frozen=True)
class Case:
    """A document, how it is verified, and what must come of it."""

    name: str
    document: bytes
    refused: str | None = None
    at: datetime = NOW
    nonce: bytes | None = NONCE
    pcr_sets: tuple[PcrSet, ...] = (BLUE, GREEN)
    allow_debug: bool = False
    matches: str = "blue"
