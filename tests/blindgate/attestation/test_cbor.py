"""The CBOR subset, against a general library."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blindgate.attestation import cbor
from blindgate.attestation.cose import byte_string
from blindgate.attestation.errors import (
    DuplicateKey,
    MalformedCbor,
    MalformedDocument,
    TrailingBytes,
    UnexpectedTag,
)

_SCALARS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.binary(max_size=40),
    st.text(max_size=40),
    st.booleans(),
    st.none(),
)
_KEYS = st.one_of(st.integers(0, 2**64 - 1), st.text(max_size=10))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=12,
)


@settings(max_examples=200)
@given(_VALUES)
def test_reads_what_a_general_library_writes(value: cbor.Value) -> None:
    assume(_depth(value) <= 8)
    assert cbor.decode(cbor2.dumps(value)) == value


def _depth(value: cbor.Value) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_reads_nothing_that_a_general_library_reads_differently(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except MalformedDocument:
        return
    assert value == cbor2.loads(data)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("bf616101ff", {"a": 1}),
        ("9f0102ff", [1, 2]),
        ("5f41014102ff", b"\x01\x02"),
        ("7f61616162ff", "ab"),
        ("1b0000000000000001", 1),
        ("bfff", {}),
    ],
)
def test_indefinite_and_longer_forms_are_read(encoded: str, value: cbor.Value) -> None:
    assert cbor.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        ("", MalformedCbor),
        ("20", MalformedCbor),  # -1
        ("f93c00", MalformedCbor),  # 1.0
        ("f7", MalformedCbor),  # undefined
        ("ff", MalformedCbor),  # a break alone
        ("1f", MalformedCbor),  # an indefinite integer
        ("1c", MalformedCbor),  # a reserved length
        ("5f6161ff", MalformedCbor),  # text within bytes
        ("5f5f4101ffff", MalformedCbor),  # indefinite within indefinite
        ("7f61c361a9ff", MalformedCbor),  # a character split between chunks
        ("61ff", MalformedCbor),  # not UTF-8
        ("a1f601", MalformedCbor),  # null as key
        ("a1f501", MalformedCbor),  # true as key, which Python takes for 1
        ("a1410001", MalformedCbor),  # bytes as key
        ("bf6161ff", MalformedCbor),  # a key without its value
        ("9bffffffffffffffff00", MalformedCbor),  # a count beyond the input
        ("5bffffffffffffffff00", MalformedCbor),  # a length beyond the input
        ("81" * 20 + "00", MalformedCbor),  # too deep
        ("9f" * 4000, MalformedCbor),  # far too deep
        ("c100", UnexpectedTag),
        ("81d9d9f700", UnexpectedTag),
        ("a2616101616102", DuplicateKey),
        ("a20001180002", DuplicateKey),  # 0 in two lengths
        ("0000", TrailingBytes),
    ],
)
def test_everything_else_is_refused(encoded: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        cbor.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    ("opened", "closed"), [("81", ""), ("9f", "ff"), ("a100", ""), ("bf00", "ff")]
)
def test_arrays_and_maps_nest_eight_deep_at_most(opened: str, closed: str) -> None:
    value = cbor.decode(bytes.fromhex(opened * 8 + "07" + closed * 8))
    for _ in range(8):
        assert isinstance(value, list | dict)
        value = value[0]
    assert value == 7
    with pytest.raises(MalformedCbor, match="nested deeper than 8"):
        cbor.decode(bytes.fromhex(opened * 9 + "07" + closed * 9))


@pytest.mark.parametrize("length", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_byte_strings_have_the_shortest_length(length: int) -> None:
    assert byte_string(bytes(length)) == cbor2.dumps(bytes(length))
