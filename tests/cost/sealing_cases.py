"""What comes sealed, and the lists of keys to seal to."""

from __future__ import annotations

from blindgate.sealing import bhttp, keys, ohttp, varint
from blindgate.sealing.errors import BinaryHttpError, KeyConfigError, OpenRejected, UnknownKey
from blindgate.sealing.suites import Kem
from tests.cost.harness import Case
from tests.cost.hostile import Make

_PAIR = keys.KeyPair.from_seed(1, Kem.X25519, bytes(32))
_HEAD = b"".join(
    varint.encode(len(part)) + part for part in (b"POST", b"https", b"x", b"/v1/detections")
)
_CHUNKED = b"\x02" + _HEAD
#: Key id, the three algorithms, and an encapsulated key.
_SEALED_HEADER = bytes(ohttp.seal_request(_PAIR.config, b"x").encapsulated[: 7 + 32])


def _lines(size: int) -> bytes:
    return b"\x02aa\x00" * (size // 4)


def _known(lines: Make) -> Make:
    def make(size: int) -> bytes:
        section = lines(size)
        return b"\x00" + _HEAD + varint.encode(len(section)) + section

    return make


def _open(data: bytes) -> object:
    return ohttp.open_in_place(bytearray(data), ohttp.parse_header(data, lambda _: _PAIR))


CASES = [
    *(
        Case(name, make, bhttp.decode_request, times, refuses=(BinaryHttpError,))
        for name, make, times in (
            ("request of many fields", _known(_lines), 1.0),
            ("chunked request of many fields", lambda n: _CHUNKED + _lines(n) + b"\x00", 1.0),
            ("request of tiny chunks", lambda n: _CHUNKED + b"\x00" + b"\x01x" * (n // 2), 1.0),
            ("request of padding alone", lambda n: b"\x00" + _HEAD + bytes(n), 0.5),
            ("request of one long name", _known(lambda n: varint.encode(n) + b"a" * n), 1.0),
        )
    ),
    Case("answer of informational answers", lambda n: b"\x03" + b"\x40\x64\x00" * (n // 3),
         bhttp.decode_response, 1.0, refuses=(BinaryHttpError,)),
    Case("sealed request", lambda n: _SEALED_HEADER + bytes(n), _open, 1.5,
         refuses=(OpenRejected, UnknownKey)),
    Case("list of tiny key configurations", lambda n: b"\x00\x03\x01\xff\xff" * (n // 5),
         keys.decode_list, 2.0, 8 * 1024, (KeyConfigError,)),
    Case("list of keys far over the limit", bytes, keys.decode_list, 0.1,
         refuses=(KeyConfigError,)),
    Case("key configuration of many algorithms",
         lambda n: _one_config(n // 4 * 4), keys.decode_list, 20.0, 8 * 1024, (KeyConfigError,)),
]  # fmt: skip


def _one_config(length: int) -> bytes:
    config = b"\x01\x00\x20" + bytes(32) + length.to_bytes(2) + b"\x00\x01\x00\x01" * (length // 4)
    return len(config).to_bytes(2) + config
