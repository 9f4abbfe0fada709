"""Documents of the dev NSM: shaped as AWS's, under a root of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Root, Trust, errors, parse, verify
from devstack.nsm import DevNsm, DevRoot
from tests.devstack.nsm.conftest import IMAGE, ROLE, Clock
from tests.vectors.forge import MODULE_ID

TRUSTED = (PcrSet("image", IMAGE),)


def _chain(document: bytes) -> list[x509.Certificate]:
    parsed = parse(document)
    return [x509.load_der_x509_certificate(der) for der in (*parsed.cabundle, parsed.certificate)]


def test_document_verifies_under_the_dev_root(nsm: DevNsm, root: DevRoot, clock: Clock) -> None:
    document = nsm.attest(nonce=b"n" * 32, user_data=b"data", public_key=b"key")
    attestation = verify(document, trust=Trust(root.root, TRUSTED), nonce=b"n" * 32, now=clock())
    assert (attestation.user_data, attestation.public_key) == (b"data", b"key")
    assert attestation.timestamp == clock()


def test_production_verifier_never_accepts_it(nsm: DevNsm, clock: Clock) -> None:
    with pytest.raises(errors.WrongRoot):
        verify(nsm.attest(), trust=Trust(AWS_NITRO_ROOT, TRUSTED), now=clock())


def test_pcr3_and_4_are_the_role_and_the_instance(nsm: DevNsm) -> None:
    pcrs = parse(nsm.attest()).pcrs
    assert sorted(pcrs) == list(range(16))
    assert pcrs[3] == hashlib.sha384(bytes(48) + ROLE.encode()).digest()
    assert pcrs[4] == hashlib.sha384(bytes(48) + MODULE_ID.split("-enc")[0].encode()).digest()


def test_debug_mode_measures_nothing(root: DevRoot, clock: Clock) -> None:
    nsm = DevNsm(root, MODULE_ID, IMAGE, debug_mode=True, clock=clock)
    with pytest.raises(errors.DebugMode):
        verify(nsm.attest(), trust=Trust(root.root, TRUSTED), now=clock())


@pytest.mark.parametrize("module_id", ["", "i-1-enc2", MODULE_ID + "0", MODULE_ID.upper()])
def test_another_kind_of_module_id_is_refused(root: DevRoot, module_id: str) -> None:
    with pytest.raises(ValueError, match="is not like"):
        DevNsm(root, module_id, IMAGE)


@pytest.mark.parametrize("pcrs", [{16: bytes(48)}, {-1: bytes(48)}, {0: bytes(32)}])
def test_pcrs_that_no_boot_sets_are_refused(root: DevRoot, pcrs: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="PCR"):
        DevNsm(root, MODULE_ID, pcrs)


# -- The shape, compared with the newest real document --------------------------------------------


@pytest.fixture
def real(vector: Callable[[str], Path]) -> bytes:
    return vector("attestation/2026-01-03-nitro-validator-9e038c2d.bin").read_bytes()


def _skeleton(document: bytes) -> bytes:
    """The document with the content of all strings and the timestamp blanked out.

    What is left is every CBOR head, key and order: the shape to the byte.
    """
    parsed = parse(document)
    payload = parsed.sign1.payload
    values = [
        parsed.certificate, *parsed.cabundle, *parsed.pcrs.values(),
        *(v for v in (parsed.public_key, parsed.user_data, parsed.nonce) if v),
        parsed.timestamp_ms.to_bytes(8), parsed.module_id.encode(),
    ]  # fmt: skip
    for value in values:
        # A length of two bytes stays; the lengths themselves differ by a name or a DER integer.
        head = {1: b"\x58", 2: b"\x59"}.get((len(value) > 23) + (len(value) > 255), b"")
        width = (len(value) > 23) + (len(value) > 255)
        payload = payload.replace(
            head + len(value).to_bytes(width) + value if width else value, head + b"*", 1
        )
    return document[:9] + payload


def test_document_is_shaped_as_a_real_one(nsm: DevNsm, real: bytes) -> None:
    user_data = parse(real).user_data
    assert _skeleton(nsm.attest(user_data=user_data)) == _skeleton(real)


def _shape(certificate: x509.Certificate) -> object:
    """What a certificate has, without its names, keys and times."""
    extensions = []
    for extension in certificate.extensions:
        value = extension.value
        kept = value if isinstance(value, x509.BasicConstraints | x509.KeyUsage) else None
        extensions.append((extension.oid, extension.critical, kept))
    public_key = certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return (
        certificate.version,
        [attribute.oid for attribute in certificate.subject],
        certificate.signature_algorithm_oid,
        public_key.curve.name,
        extensions,
    )


def test_certificates_are_shaped_as_real_ones(nsm: DevNsm, real: bytes) -> None:
    ours, theirs = _chain(nsm.attest()), _chain(real)
    assert [_shape(c) for c in ours] == [_shape(c) for c in theirs]


def test_certificates_are_named_as_real_ones(nsm: DevNsm, real: bytes) -> None:
    def names(document: bytes) -> list[str]:
        module = parse(document).module_id
        found = []
        for certificate in _chain(document):
            (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            text = str(name.value).replace(module, "M").replace(module.split("-enc")[0], "I")
            first, dot, rest = text.partition(".")
            found.append(("H" if len(first) == 16 else first) + dot + rest)
        return found

    assert names(nsm.attest()) == [name.replace("aws", "dev") for name in names(real)]


def test_leaf_serial_is_made_as_a_real_one(nsm: DevNsm, real: bytes) -> None:
    for document in (nsm.attest(), real):
        leaf = _chain(document)[-1]
        issued = int(leaf.not_valid_before_utc.timestamp()) + 3
        enclave = bytes.fromhex(parse(document).module_id.split("-enc")[1])
        assert leaf.serial_number == int.from_bytes(enclave + bytes(4) + issued.to_bytes(4))


def test_lifetimes_are_those_of_real_ones(nsm: DevNsm, real: bytes) -> None:
    ours, theirs = (
        [c.not_valid_after_utc - c.not_valid_before_utc for c in _chain(document)]
        for document in (nsm.attest(), real)
    )
    assert [abs(a - b) <= timedelta(hours=1) for a, b in zip(ours, theirs, strict=True)] == [
        True
    ] * 5
    assert ours[-1] == theirs[-1] == timedelta(hours=3, seconds=3)


# -- Renewal --------------------------------------------------------------------------------------


def test_leaf_is_kept_for_over_two_hours_and_renewed_before_it_ends(
    nsm: DevNsm, clock: Clock
) -> None:
    first = _chain(nsm.attest())
    clock.forward(hours=2, minutes=44)
    assert _chain(nsm.attest()) == first
    clock.forward(minutes=2)
    renewed = _chain(nsm.attest())
    assert renewed[:-1] == first[:-1]
    assert renewed[-1] != first[-1]


@pytest.mark.parametrize(
    ("passed", "kept"),
    [({"hours": 21}, 3), ({"days": 4, "hours": 17}, 2), ({"days": 14}, 1)],
)
def test_issuers_are_renewed_with_everything_below_them(
    nsm: DevNsm, clock: Clock, passed: dict[str, float], kept: int
) -> None:
    first = _chain(nsm.attest())
    clock.forward(**passed)
    now = _chain(nsm.attest())
    assert [a == b for a, b in zip(first, now, strict=True)] == [True] * kept + [False] * (5 - kept)


def test_documents_verify_at_any_time_of_a_month(nsm: DevNsm, root: DevRoot, clock: Clock) -> None:
    trust = Trust(root.root, TRUSTED)
    for _ in range(60):
        clock.forward(hours=11, minutes=59)
        verify(nsm.attest(), trust=trust, now=clock())


def test_no_certificate_outlives_its_issuer(nsm: DevNsm, clock: Clock) -> None:
    for _ in range(60):
        clock.forward(hours=7)
        ends = [c.not_valid_after_utc for c in _chain(nsm.attest())]
        assert ends == sorted(ends, reverse=True)


def test_certificates_stay_within_1024_bytes(nsm: DevNsm) -> None:
    parsed = parse(nsm.attest())
    assert max(map(len, (*parsed.cabundle, parsed.certificate))) <= 1024


def test_payload_is_an_indefinite_map_with_nulls(nsm: DevNsm) -> None:
    payload = parse(nsm.attest()).sign1.payload
    assert payload[:1] == b"\xbf"
    assert payload.endswith(
        cbor2.dumps("public_key") + b"\xf6" + cbor2.dumps("user_data") + b"\xf6"
        + cbor2.dumps("nonce") + b"\xf6\xff"
    )  # fmt: skip


def test_root_pem_is_what_verifiers_pin(root: DevRoot) -> None:
    assert Root.from_pem(root.pem) == root.root
