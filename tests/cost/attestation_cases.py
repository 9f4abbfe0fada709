"""Attestation documents, their CBOR, and what describes trust in them."""

from __future__ import annotations

from blindgate import strict_cbor
from blindgate.attestation import (
    AWS_NITRO_ROOT,
    AttestationError,
    InvalidTrust,
    MalformedDocument,
    PcrSet,
    Root,
    UserData,
    parse,
    purpose_of,
)
from blindgate.attestation.cbor import decode
from blindgate.attestation.cose import MAX_DOCUMENT, PROTECTED, Sign1, byte_string
from blindgate.attestation.errors import InvalidRoot
from tests.cost.harness import Case
from tests.cost.hostile import Make, members, nested, repeated

#: Within the limit of a document, twice.
_DOCUMENT = MAX_DOCUMENT // 2 - 200


def _document(payload: Make) -> Make:
    return lambda size: Sign1(payload(size), bytes(96)).encode()


def _strict(data: bytes) -> object:
    return strict_cbor.decode(data, max_bytes=len(data), max_depth=8)


_PAYLOADS = {
    "a map of numbers": lambda size: b"\xbf" + bytes(range(24)) * 2 + b"\x00" * size + b"\xff",
    "empty arrays": repeated(b"\x9f", b"\x80", b"\xff"),
    "empty chunks of a string": repeated(b"\x5f", b"\x40", b"\xff"),
    "nested arrays": nested(b"\x9f", b"\xff"),
    "many PCRs": repeated(b"\xa1\x64pcrs\xbf", b"\x18\x18\x40", b"\xff"),
    "a count that nothing follows": lambda size: b"\x9b" + b"\xff" * 8 + b"\x00" * size,
}

CASES = [
    *(
        Case(f"document of {name}", _document(make), parse, 2, _DOCUMENT, (MalformedDocument,))
        for name, make in _PAYLOADS.items()
    ),
    Case("document far over the limit", lambda n: b"\xd2\x84" + bytes(n), parse, 0.1,
         refuses=(MalformedDocument,)),
    Case("document of one long protected header",
         lambda n: b"\x84" + byte_string(PROTECTED * (n // 4)), parse, 2, _DOCUMENT,
         (MalformedDocument,)),
    # What is read of a verified document is no longer than that document.
    *(
        Case(f"CBOR of {name}", make, decode, 100, 64 * 1024, (MalformedDocument,))
        for name, make in _PAYLOADS.items()
    ),
    *(
        Case(f"CBOR of the link and of credentials: {name}", make, _strict, 100, 128 * 1024,
             (strict_cbor.CborError,))
        for name, make in _PAYLOADS.items()
    ),
    Case("user_data of empty arrays", _PAYLOADS["empty arrays"], purpose_of, 100, 8 * 1024),
    Case("user_data of a long purpose", lambda n: b"\xa1\x67purpose\x7a" + n.to_bytes(4) + b"a" * n,
         UserData.decode, 4, 8 * 1024, (AttestationError,)),
    Case("root of many certificates",
         lambda n: AWS_NITRO_ROOT._pem() * (1 + n // 800), Root.from_pem, 30, 30 * 1024,
         (InvalidRoot,)),
    Case("root of a long comment", lambda n: b"# \n" * (n // 3) + AWS_NITRO_ROOT._pem(),
         Root.from_pem, 30, 30 * 1024),
    Case("root of a long certificate",
         lambda n: b"-----BEGIN CERTIFICATE-----\n" + (b"MIIA" * 16 + b"\n") * (n // 65)
         + b"-----END CERTIFICATE-----\n", Root.from_pem, 30, 30 * 1024, (InvalidRoot,)),
    Case("root of beginnings", repeated(b"", b"-----BEGIN CERTIFICATE-----\n", b""),
         Root.from_pem, 30, 30 * 1024, (InvalidRoot,)),
    Case("root far over the limit", lambda n: AWS_NITRO_ROOT._pem() * (1 + n // 800),
         Root.from_pem, 0.1, refuses=(InvalidRoot,)),
    Case("PCR file of unknown members", members(b"{", b"}"),
         lambda data: PcrSet.from_json(data, name="x"), 30, 32 * 1024, (InvalidTrust,)),
    Case("PCR file of nested arrays", nested(b"[", b"]"),
         lambda data: PcrSet.from_json(data, name="x"), 30, 32 * 1024, (InvalidTrust,)),
]  # fmt: skip
