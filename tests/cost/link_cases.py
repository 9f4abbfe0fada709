"""Frames of the link between gateway and enclave, and what travels in them."""

from __future__ import annotations

from blindgate.link import AnswerHeader, FrameError, FrameLimits, FrameReader, RequestHeader
from blindgate.link.frames import MAX_HEADER, MAX_STATUS
from enclave_app.kms.credentials import CredentialsError, CredentialStore
from enclave_app.limits import CREDENTIALS_BYTES
from gateway.pool.status import Status
from tests.cost.harness import Case
from tests.cost.hostile import Make, repeated

_ARRAYS = repeated(b"\x9f", b"\x80", b"\xff")
_TEXTS = repeated(b"\x9f", b"\x60", b"\xff")


def _framed(make: Make) -> Make:
    def framed(size: int) -> bytes:
        header = make(size)
        return len(header).to_bytes(4) + header

    return framed


def _read(reader: FrameReader[RequestHeader] | FrameReader[AnswerHeader], data: bytes) -> None:
    at = 0
    while at < len(data):
        room = reader.buffer()
        count = min(len(room), len(data) - at)
        room[:count] = data[at : at + count]
        reader.received(count)
        at += count


def _request(data: bytes) -> None:
    _read(FrameReader(RequestHeader, FrameLimits(body=2**24)), data)


def _answer(data: bytes) -> None:
    _read(FrameReader(AnswerHeader, FrameLimits(body=2**24)), data)


def _credentials(data: bytes) -> None:
    CredentialStore().replace(data)


CASES = [
    Case("request header of arrays", _framed(_ARRAYS), _request, 100, MAX_HEADER // 2 - 8,
         (FrameError,)),
    Case("answer header of texts", _framed(_TEXTS), _answer, 100, MAX_HEADER // 2 - 8,
         (FrameError,)),
    Case("header that announces more than there may be", lambda n: b"\xff" * n, _request, 0.1,
         refuses=(FrameError,)),
    Case("many frames that are no header", lambda n: b"\x00\x00\x00\x01\x00" * (n // 5), _request,
         0.1, refuses=(FrameError,)),
    Case("status of arrays", _ARRAYS, Status.from_cbor, 150, MAX_STATUS // 2 - 8, (FrameError,)),
    Case("status of labels",
         repeated(b"\xa2\x65ready\xf5\x65model\xa3\x64name\x61m\x67version\x611\x66labels\x9f",
                  b"\x60", b"\xff"),
         Status.from_cbor, 100, MAX_STATUS // 2 - 8, (FrameError,)),
    Case("credentials of arrays", _ARRAYS, _credentials, 100, CREDENTIALS_BYTES // 2 - 8,
         (CredentialsError,)),
    Case("credentials far over the limit", bytes, _credentials, 0.1, refuses=(CredentialsError,)),
]  # fmt: skip
