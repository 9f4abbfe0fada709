"""Documents that are well formed and not to be trusted, one rule each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from blindgate.attestation import PcrSet
from blindgate.attestation.cose import Sign1
from devstack.nsm.documents import sign
from tests.vectors.forge import (
    BLUE,
    GREEN,
    IMAGE_PCRS,
    INSTANCE,
    LEAF,
    NONCE,
    NOW,
    OTHER_ROOT,
    P384_ORDER,
    REGION,
    SHORT,
    ZONE,
    Case,
    Link,
    chain_of,
    document,
    nitro_chain,
    payload,
    pcr,
    reissued,
    twin,
    with_certificates,
    with_link,
)

_SECOND: Final = timedelta(seconds=1)
_TIMESTAMP: Final = int(NOW.timestamp() * 1000)


def untrusted() -> Iterator[Case]:
    """All cases that are refused for their chain, signature, age or measurements."""
    yield from _chains()
    yield from _signatures()
    yield from _fresh()
    yield from _measured()


def _chains() -> Iterator[Case]:
    other = nitro_chain(OTHER_ROOT)
    chain = nitro_chain()
    ders = [issued.der for issued in chain[:-1]]
    yield Case("another root", document(other), "wrong-root")
    claimed = [ders[0], *(issued.der for issued in other[1:-1])]
    yield Case(
        "another root's chain behind the right one",
        document(other, cabundle=claimed),
        "broken-chain",
    )
    yield Case("no root in the bundle", document(cabundle=ders[1:]), "wrong-root")
    yield Case(
        "the bundle in another order", document(cabundle=[ders[0], *ders[:0:-1]]), "chain-too-long"
    )
    unrelated = document(
        chain_of([ZONE, LEAF]),
        cabundle=[
            ders[0],
            chain_of([ZONE])[1].der,
            chain_of([Link("stranger", path_length=0)])[1].der,
        ],
    )
    yield Case("a certificate too many", unrelated, "broken-chain")
    yield Case("a certificate missing", document(cabundle=[*ders[:2], ders[3]]), "broken-chain")
    yield Case(
        "a certificate of junk", document(cabundle=[*ders[:3], b"junk"]), "unreadable-certificate"
    )
    stranger = ec.derive_private_key(7, ec.SECP384R1())
    table: tuple[tuple[str, tuple[Link, ...], str], ...] = (
        ("a leaf on P-256", with_link(LEAF, curve=ec.SECP256R1()), "wrong-certificate-algorithm"),
        (
            "an issuer on P-256",
            with_link(ZONE, curve=ec.SECP256R1()),
            "wrong-certificate-algorithm",
        ),
        (
            "a certificate signed with SHA-256",
            with_link(LEAF, algorithm=hashes.SHA256()),
            "wrong-certificate-algorithm",
        ),
        ("a leaf that expired", with_link(LEAF, end=-_SECOND), "certificate-expired"),
        ("an issuer that expired", with_link(ZONE, end=-_SECOND), "certificate-expired"),
        ("a leaf 61 s from now", with_link(LEAF, begin=61 * _SECOND), "certificate-not-yet-valid"),
        (
            "an issuer 61 s from now",
            with_link(REGION, begin=61 * _SECOND),
            "certificate-not-yet-valid",
        ),
        ("an authority below path length 0", with_link(ZONE, path_length=0), "chain-too-long"),
        ("five issuers", (REGION, ZONE, INSTANCE, Link("fifth"), LEAF), "chain-too-long"),
        (
            "five issuers, none of which limits its path",
            (*(Link(f"issuer {number}") for number in range(4)), LEAF),
            "chain-too-long",
        ),
        ("a leaf that is an authority", with_link(LEAF, ca=True), "leaf-is-ca"),
        ("a leaf that does not say it is none", with_link(LEAF, ca=None), "leaf-is-ca"),
        (
            "an issuer that is no authority",
            with_link(INSTANCE, ca=False, path_length=None),
            "issuer-is-no-ca",
        ),
        ("an issuer that does not say it is one", with_link(INSTANCE, ca=None), "issuer-is-no-ca"),
        ("a leaf that may not sign", with_link(LEAF, usages=("key_agreement",)), "wrong-key-usage"),
        ("a leaf without a usage", with_link(LEAF, usages=()), "wrong-key-usage"),
        (
            "an issuer that may not issue",
            with_link(ZONE, usages=("digital_signature",)),
            "wrong-key-usage",
        ),
        (
            "a critical extension",
            with_link(ZONE, critical=b"\x05\x00"),
            "unknown-critical-extension",
        ),
        ("a leaf signed by a stranger", with_link(LEAF, issuer_key=stranger), "broken-chain"),
    )
    for name, links, refused in table:
        yield Case(name, _signed_anyhow(links), refused)
    late = chain_of(with_link(LEAF, begin=60 * _SECOND))
    yield Case("a leaf 60 s from now", document(late))
    last = chain_of(with_link(LEAF, end=timedelta()))
    yield Case("a leaf in its last second", document(last))
    four = chain_of((*(Link(f"issuer {number}") for number in range(3)), LEAF))
    yield Case("four issuers, none of which limits its path", document(four))
    yield from _certificates()


def _certificates() -> Iterator[Case]:
    """Certificates that no library makes, correctly signed."""
    key = SHORT[-1].key

    def case(name: str, refused: str | None, position: int, **changes: Any) -> Case:
        return Case(name, with_certificates(reissued(SHORT, position, **changes), key), refused)

    def serial(number: int) -> Callable[[asn1.TbsCertificate], None]:
        return lambda tbs: tbs.__setitem__("serial_number", number)

    def doubled(index: int) -> Callable[[asn1.TbsCertificate], None]:
        return lambda tbs: tbs["extensions"].append(tbs["extensions"][index].copy())

    yield case("a leaf that was signed again", None, -1)
    yield case("a leaf with serial number 1", None, -1, body=serial(1))
    for what, position in (("a leaf", -1), ("an issuer", 1)):
        refused = "unreadable-certificate"
        yield case(f"{what} with serial number 0", refused, position, body=serial(0))
        yield case(f"{what} with serial number -1", refused, position, body=serial(-1))
        for index, extension in enumerate(("BasicConstraints", "KeyUsage")):
            yield case(f"{what} with {extension} twice", refused, position, body=doubled(index))
    # What the signature of a certificate does not cover: its own encoding.
    tagged = {"signature": lambda der: b"\xb0" + der[1:]}
    yield case("a certificate's signature with tag 0xB0", "broken-chain", -1, **tagged)
    longer = {"signature": lambda der: b"\x30\x81" + der[1:]}
    yield case("a certificate's signature with a long length", "broken-chain", -1, **longer)
    trailing = {"signature": lambda der: der + b"\0"}
    yield case("a byte behind a certificate's signature", "broken-chain", -1, **trailing)
    padded = {"signature": _with_padded_r}
    yield case("a certificate's signature with a padded r", "broken-chain", -1, **padded)
    outer = {"whole": lambda der: b"\x30\x83\0" + der[2:]}
    yield case("a certificate with a long length", "unreadable-certificate", -1, **outer)
    behind = {"whole": lambda der: der + b"\0"}
    yield case("a byte behind a certificate", "unreadable-certificate", -1, **behind)


def _with_padded_r(der: bytes) -> bytes:
    """The same numbers, r with a zero byte more than DER allows."""
    r_length = der[3]
    return b"\x30" + bytes([der[1] + 1, 2, r_length + 1, 0]) + der[4:]


def _signed_anyhow(links: tuple[Link, ...]) -> bytes:
    """A P-256 key cannot make a signature of 96 bytes: then it is zeros, and not looked at."""
    chain = chain_of(links)
    if chain[-1].key.key_size == ec.SECP384R1.key_size:
        return document(chain)
    return Sign1(payload(chain), bytes(96)).encode()


def _signatures() -> Iterator[Case]:
    chain = SHORT
    plain = document(SHORT)
    good, swapped = payload(chain), payload(chain, user_data=b"swapped")
    yield Case("another payload", Sign1(swapped, plain[-96:]).encode(), "wrong-signature")
    stranger = ec.derive_private_key(7, ec.SECP384R1())
    yield Case("signed by a stranger", sign(good, stranger), "wrong-signature")
    yield Case("signed by the issuer", sign(good, chain[-2].key), "wrong-signature")
    yield Case("the twin (r, n - s) of a signature", plain[:-96] + twin(plain[-96:]))
    beyond = (int.from_bytes(plain[-48:]) + P384_ORDER) % (1 << 384)
    yield Case("s + n", plain[:-48] + beyond.to_bytes(48), "wrong-signature")
    negative_r = P384_ORDER - int.from_bytes(plain[-96:-48])
    yield Case("n - r", plain[:-96] + negative_r.to_bytes(48) + plain[-48:], "wrong-signature")
    yield Case("a signature of zeros", Sign1(good, bytes(96)).encode(), "wrong-signature")
    yield Case(
        "r and s exchanged", Sign1(good, plain[-48:] + plain[-96:-48]).encode(), "wrong-signature"
    )


def _fresh() -> Iterator[Case]:
    plain = document(SHORT)
    yield Case("no nonce where one was asked for", document(SHORT, nonce=None), "nonce-missing")
    yield Case("an empty nonce", document(SHORT, nonce=b""), "nonce-mismatch")
    yield Case("another nonce", plain, "nonce-mismatch", nonce=bytes(32))
    yield Case("the nonce and more", document(SHORT, nonce=NONCE + b"\0"), "nonce-mismatch")
    yield Case("301 s old", plain, "timestamp-stale", nonce=None, at=NOW + 301 * _SECOND)
    last = document(SHORT, timestamp=253_402_300_799_999)
    yield Case("the last time there is", last, "timestamp-in-future")
    late = document(SHORT, timestamp=_TIMESTAMP + 61_000)
    yield Case("61 s from the future", late, "timestamp-in-future")
    yield Case("61 s from the future, no nonce", late, "timestamp-in-future", nonce=None)
    yield Case("today", plain, "certificate-expired", at=NOW + timedelta(hours=4))


def _measured() -> Iterator[Case]:
    zeros = {index: bytes(48) for index in (0, 1, 2)}
    yield Case("debug mode", document(SHORT, pcrs={**IMAGE_PCRS, **zeros}), "debug-mode")
    for index in (0, 1, 2):
        one = document(SHORT, pcrs={**IMAGE_PCRS, index: bytes(48)})
        yield Case(f"PCR{index} zero", one, "debug-mode")
        other = document(SHORT, pcrs={**IMAGE_PCRS, index: pcr("other")})
        yield Case(f"PCR{index} differs", other, "pcr-mismatch")
        without = {i: value for i, value in IMAGE_PCRS.items() if i != index}
        yield Case(f"PCR{index} absent", document(SHORT, pcrs=without), "pcr-mismatch")
    mixed = {**IMAGE_PCRS, 2: GREEN.values[2]}
    yield Case("one PCR of another set", document(SHORT, pcrs=mixed), "pcr-mismatch")
    signer = PcrSet("another signer", {**BLUE.values, 8: pcr("another signer")})
    yield Case("PCR8 differs", document(SHORT), "pcr-mismatch", pcr_sets=(signer,))
    debug = document(SHORT, pcrs={**IMAGE_PCRS, **zeros})
    yield Case("debug mode, allowed, but not this image", debug, "pcr-mismatch", allow_debug=True)
