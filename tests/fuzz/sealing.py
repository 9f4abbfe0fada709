"""One function for a coverage-guided fuzzer: every parser of `blindgate.sealing` on any bytes.

    atheris.Setup(sys.argv, sealing.one_input); atheris.Fuzz()

Each parser may raise its own typed error and nothing else, and what it accepts it must write
again in a form that it reads the same way.
"""

from __future__ import annotations

from contextlib import suppress

from blindgate.sealing import bhttp, keys, ohttp
from blindgate.sealing.errors import (
    BinaryHttpError,
    KeyConfigError,
    OpenRejected,
    UnknownKey,
)
from blindgate.sealing.suites import Kem

_PAIR = keys.KeyPair.from_seed(1, Kem.X25519, bytes(32))
_OPENER = ohttp.seal_request(_PAIR.config, b"").response


def one_input(data: bytes) -> None:
    """Give `data` to every parser; anything but a typed refusal is a finding."""
    with suppress(BinaryHttpError):
        request = bhttp.decode_request(data)
        assert bhttp.decode_request(request.encode()) == request
    with suppress(BinaryHttpError):
        response = bhttp.decode_response(data)
        assert bhttp.decode_response(response.encode()) == response
    with suppress(KeyConfigError):
        configs = keys.decode_list(data)
        assert keys.decode_list(keys.encode_list(configs)) == configs
    with suppress(OpenRejected, UnknownKey):
        ohttp.open_request(data, lambda _: _PAIR)
        raise AssertionError("random bytes were opened")
    with suppress(OpenRejected):
        _OPENER.open(data)
        raise AssertionError("random bytes were opened")
