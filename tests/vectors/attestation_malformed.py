"""Documents that are malformed, one rule each."""

from __future__ import annotations

from collections.abc import Iterator

import cbor2

from blindgate.attestation.cose import Sign1, byte_string
from devstack.nsm.documents import sign
from tests.vectors.forge import ABSENT, IMAGE_PCRS, NONCE, SHORT, Case, document, payload


def malformed() -> Iterator[Case]:
    """All cases of `MalformedDocument`."""
    yield from _outer()
    yield from _fields()


def _outer() -> Iterator[Case]:
    plain = document(SHORT)
    sign1 = Sign1(payload(SHORT), plain[-96:])
    inner, protected = byte_string(sign1.payload), byte_string(bytes.fromhex("a1013822"))
    signature = byte_string(sign1.signature)

    def outer(*parts: bytes, first: bytes = b"\x84") -> bytes:
        return first + b"".join(parts)

    long = document(SHORT, cabundle=[bytes(1024)] * 16)
    yield Case("longer than 16 KiB", long, "document-too-large")
    yield Case("nothing", b"", "not-cose-sign1")
    yield Case("cut short", plain[:-1], "malformed-cbor")
    yield Case("a byte behind", plain + b"\x00", "trailing-bytes")
    yield Case("tag 98, COSE_Sign", b"\xd8\x62" + plain, "unexpected-tag")
    yield Case("tag 18 twice", b"\xd2\xd2" + plain, "not-cose-sign1")
    yield Case(
        "an array of five",
        outer(protected, b"\xa0", inner, signature, b"\xf6", first=b"\x85"),
        "not-cose-sign1",
    )
    yield Case(
        "an array of indefinite length",
        outer(protected, b"\xa0", inner, signature, b"\xff", first=b"\x9f"),
        "not-cose-sign1",
    )
    wide = b"\x5a" + len(sign1.payload).to_bytes(4) + sign1.payload
    yield Case(
        "a length that is not the shortest",
        outer(protected, b"\xa0", wide, signature),
        "not-cose-sign1",
    )
    for name, header in (("ES256", "a10126"), ("ES384 and more", "a20138220300"), ("none", "")):
        other = byte_string(bytes.fromhex(header))
        yield Case(
            f"protected header: {name}", outer(other, b"\xa0", inner, signature), "wrong-algorithm"
        )
    for name, header in (("a key id", "a1044161"), ("an indefinite map", "bfff"), ("null", "f6")):
        yield Case(
            f"unprotected header: {name}",
            outer(protected, bytes.fromhex(header), inner, signature),
            "unprotected-header",
        )
    short = byte_string(sign1.signature[:95])
    yield Case(
        "a signature of 95 bytes", outer(protected, b"\xa0", inner, short), "signature-length"
    )


def _fields() -> Iterator[Case]:
    chain = SHORT
    key = chain[-1].key
    good = payload(chain)

    def signed(name: str, changed: bytes, refused: str) -> Case:
        return Case(name, sign(changed, key), refused)

    yield signed("a payload cut short", good[:-1], "malformed-cbor")
    yield signed("a payload that is an array", b"\x80", "malformed-cbor")
    yield signed("a byte behind the payload", good + b"\x00", "trailing-bytes")
    yield signed("nonce twice", good[:-1] + cbor2.dumps("nonce") + b"\xf6\xff", "duplicate-key")
    twice = good.replace(cbor2.dumps("pcrs") + b"\xa3\x00", cbor2.dumps("pcrs") + b"\xa3\x01")
    yield signed("PCR1 twice", twice, "duplicate-key")
    yield signed("a tag inside", payload(chain, nonce=cbor2.CBORTag(24, NONCE)), "unexpected-tag")
    yield signed("a float inside", payload(chain, timestamp=1.5), "malformed-cbor")
    yield signed("a negative PCR index", payload(chain, pcrs={-1: bytes(48)}), "malformed-cbor")
    for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"):
        yield signed(f"{name} absent", payload(chain, **{name: ABSENT}), "missing-field")
        yield signed(f"{name} null", payload(chain, **{name: None}), "missing-field")
    wrong: tuple[tuple[str, object], ...] = (
        ("module_id", b"bytes"),
        ("digest", 384),
        ("timestamp", "now"),
        ("timestamp", True),
        ("pcrs", [bytes(48)]),
        ("pcrs", {"0": bytes(48)}),
        ("pcrs", {0: "zero"}),
        ("certificate", "text"),
        ("cabundle", bytes(10)),
        ("cabundle", ["text"]),
        ("public_key", "text"),
        ("user_data", 1),
        ("nonce", "text"),
    )
    for position, (name, value) in enumerate(wrong):
        case = f"{name} of another type ({position})"
        yield signed(case, payload(chain, **{name: value}), "wrong-field-type")
    many = {index: bytes(48) for index in range(33)}
    values: tuple[tuple[str, object, str], ...] = (
        ("module_id", "", "invalid-module-id"),
        ("digest", "SHA512", "unknown-digest"),
        ("timestamp", 0, "invalid-timestamp"),
        ("timestamp", 2**64 - 1, "invalid-timestamp"),
        ("timestamp", 253_402_300_800_000, "invalid-timestamp"),
        ("pcrs", {}, "invalid-pcr-count"),
        ("pcrs", many, "invalid-pcr-count"),
        ("pcrs", {**IMAGE_PCRS, 32: bytes(48)}, "invalid-pcr-index"),
        ("pcrs", {**IMAGE_PCRS, 5: bytes(47)}, "invalid-pcr-length"),
        ("certificate", b"", "invalid-certificate-length"),
        ("certificate", bytes(1025), "invalid-certificate-length"),
        ("cabundle", [chain[0].der, bytes(1025)], "invalid-certificate-length"),
        ("cabundle", [], "empty-cabundle"),
        ("public_key", b"", "invalid-optional-length"),
        ("public_key", bytes(1025), "invalid-optional-length"),
        ("user_data", bytes(1025), "invalid-optional-length"),
        ("nonce", bytes(1025), "invalid-optional-length"),
    )
    for position, (name, value, refused) in enumerate(values):
        yield signed(f"{name}: {refused} ({position})", payload(chain, **{name: value}), refused)
