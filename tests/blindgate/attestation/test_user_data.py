"""What documents bind."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.attestation import (
    CLIENT_PURPOSE,
    KMS_PURPOSE,
    KMS_USER_DATA,
    InvalidUserData,
    UserData,
    purpose_of,
)

BOUND = UserData(keys=b"k" * 32, model=b"m" * 32, config=b"c" * 32)
MAP = {"purpose": CLIENT_PURPOSE, "keys": b"k" * 32, "model": b"m" * 32, "config": b"c" * 32}


def test_round_trip_within_the_512_bytes_that_an_nsm_takes() -> None:
    assert UserData.decode(BOUND.encode()) == BOUND
    assert len(BOUND.encode()) <= 512
    assert cbor2.loads(BOUND.encode()) == MAP


def test_purposes_differ() -> None:
    assert purpose_of(BOUND.encode()) == CLIENT_PURPOSE
    assert purpose_of(KMS_USER_DATA) == KMS_PURPOSE
    assert purpose_of(None) is purpose_of(b"other") is purpose_of(b"\xa0") is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"junk",
        KMS_USER_DATA,
        cbor2.dumps({**MAP, "purpose": "blindgate/client/v2"}, canonical=True),
        cbor2.dumps({**MAP, "more": 1}, canonical=True),
        cbor2.dumps({**MAP, "keys": b"short"}, canonical=True),
        cbor2.dumps({**MAP, "keys": "k" * 32}, canonical=True),
        cbor2.dumps({k: v for k, v in MAP.items() if k != "config"}, canonical=True),
        cbor2.dumps(dict(reversed(MAP.items()))),
        BOUND.encode() + b"\x00",
        b"\xbf" + BOUND.encode()[1:] + b"\xff",
    ],
)
def test_anything_else_is_refused(data: bytes | None) -> None:
    with pytest.raises(InvalidUserData):
        UserData.decode(data)


@given(st.binary(max_size=200))
def test_decoding_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(InvalidUserData):
        UserData.decode(data)


def test_digests_are_sha256() -> None:
    with pytest.raises(InvalidUserData):
        UserData(keys=b"", model=b"m" * 32, config=b"c" * 32)
