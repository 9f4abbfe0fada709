"""One function for a coverage-guided fuzzer: the readers of `blindgate.attestation` on any bytes.

    atheris.Setup(sys.argv, attestation.one_input); atheris.Fuzz()

Each may raise its own typed error and nothing else, what is read must be what a general library
reads, and nothing of it may verify.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import cbor2

from blindgate.attestation import (
    AWS_NITRO_ROOT,
    InvalidTrust,
    InvalidUserData,
    MalformedDocument,
    PcrSet,
    UserData,
    parse,
    verify_chain_and_signature,
)
from blindgate.attestation.cbor import decode
from blindgate.attestation.errors import AttestationError

_NOW = datetime(2026, 6, 1, tzinfo=UTC)


def one_input(data: bytes) -> None:
    """Give `data` to every reader; anything but a typed refusal is a finding."""
    with suppress(MalformedDocument):
        assert decode(data) == cbor2.loads(data)
    with suppress(MalformedDocument):
        assert parse(data).sign1.encode() == data
    with suppress(InvalidUserData):
        assert UserData.decode(data).encode() == data
    with suppress(InvalidTrust):
        PcrSet.from_json(data, name="fuzz")
    with suppress(AttestationError):
        verify_chain_and_signature(data, root=AWS_NITRO_ROOT, now=_NOW)
        raise AssertionError("bytes that nobody signed verified")
