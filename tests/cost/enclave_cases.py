"""What reaches the enclave besides images: envelopes, KMS's responses, and the link's requests."""

from __future__ import annotations

from pydantic import ValidationError

from blindgate.detections import DetectOptions
from blindgate.envelope import sample_file
from blindgate.envelope.recognise import recognise
from blindgate.envelope.sample_file import SampleFileError
from enclave_app.envelopes.opening import EnvelopeRejected, Unsealer, UnsealSettings
from enclave_app.kms import cms
from enclave_app.kms.client import UnwrappedKey, _json_object
from tests.cost.harness import Case
from tests.cost.hostile import members, nested, repeated

_ARN = "arn:aws:kms:us-east-1:111122223333:key/1"
_SUITE = b"\x02\x04\x78"


class _NoKms:
    def unwrap(self, *_: object, **__: object) -> UnwrappedKey:
        return UnwrappedKey(bytes(32))


_UNSEALER = Unsealer(
    UnsealSettings(key_arns=(_ARN,), encryption_context={}, sample_files=True), _NoKms()
)


def _context(size: int) -> bytes:
    """A message whose encryption context has as many pairs as fit into its length field."""
    pairs = [b"\x00\x04%04x\x00\x00" % n for n in range(min(size // 8, 0xFFFF // 8))]
    context = len(pairs).to_bytes(2) + b"".join(pairs)
    return _SUITE + bytes(32) + len(context).to_bytes(2) + context


def _wrapped_keys(size: int) -> bytes:
    key = b"\x00\x07aws-kms\x00\x01x\x00\x01x"
    count = min(size // len(key), 0xFFFF)
    return _SUITE + bytes(32) + b"\x00\x00" + count.to_bytes(2) + key * count


def _query(data: bytes) -> object:
    return DetectOptions.from_query([tuple(p.split("=", 1)) for p in data.decode().split("&")])  # type: ignore[misc]


CASES = [
    Case("telling what an upload is", lambda n: b"\x00\x00\x18\x00" + bytes(n), recognise, 0.1),
    *(
        Case(f"message {name}", make, _UNSEALER.open, times, size, (EnvelopeRejected,))
        for name, make, times, size in (
            ("of a large encryption context", _context, 60.0, 30_000),
            ("of many wrapped keys", _wrapped_keys, 3.0, 256 * 1024),
            ("that is only a header's beginning", lambda n: _SUITE + b"\xff" * n, 3.0, 2**21),
            ("of zeros", lambda n: _SUITE + bytes(n), 3.0, 2**21),
        )
    ),
    Case("sample file of a token that is not one",
         lambda n: b"\x00\x00\x00\x01x" + b"gAAAAA" + b"A" * n, _UNSEALER.open, 4.0, 2**21,
         (EnvelopeRejected,)),
    Case("sample file of a true token",
         lambda n: sample_file.SampleFile(b"x", sample_file.seal(bytes(32), bytes(n))).encode(),
         _UNSEALER.open, 4.0, 2**21, (EnvelopeRejected, SampleFileError)),
    Case("CMS of nested constructed lengths", nested(b"\x30\x80", b"\x00\x00"), cms.parse, 10, 3000,
         (cms.CmsError,)),
    Case("CMS far over the limit", lambda n: b"\x30\x80" * (n // 2), cms.parse, 0.1,
         refuses=(cms.CmsError,)),
    # KMS's responses have 64 KiB at most; they come over TLS from AWS.
    Case("KMS response of members", members(b"{", b"}"), _json_object, 30, 32 * 1024),
    Case("KMS response of arrays", repeated(b"[", b"[],", b"[]]"), _json_object, 40, 32 * 1024),
    Case("query of unknown names", lambda n: b"&".join(b"%x=1" % i for i in range(n // 6)), _query,
         60, 32 * 1024, (ValidationError,)),
    Case("query of labels", lambda n: b"classes=" + b"," * n, _query, 30, 32 * 1024,
         (ValidationError,)),
    Case("query of labels one by one", lambda n: b"&".join([b"classes=x"] * (n // 10)), _query,
         60, 32 * 1024, (ValidationError,)),
]  # fmt: skip
