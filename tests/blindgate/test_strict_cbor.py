"""Exactly one item of plain CBOR, within limits, or one error."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate import strict_cbor
from blindgate.strict_cbor import CborError


def decode(data: bytes, max_bytes: int = 1000, max_depth: int = 4) -> object:
    return strict_cbor.decode(data, max_bytes=max_bytes, max_depth=max_depth)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(plain)
def test_plain_values_come_back(value: object) -> None:
    assert decode(cbor2.dumps(value), max_depth=10) == value


@pytest.mark.parametrize(
    ("encoded", "value"),
    [("bf6161 01ff", {"a": 1}), ("9f0102ff", [1, 2]), ("5f41 0141 02ff", b"\x01\x02")],
)
def test_indefinite_lengths_are_read(encoded: str, value: object) -> None:
    assert decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    "encoded",
    [
        "",  # nothing
        "61",  # cut off
        "8101 00",  # a byte behind the item
        "a2 6161 01 6161 02",  # a key twice
        "a2 6161 01 7f6161ff 02",  # the same key, written in another way
        "1c",  # a reserved length
        "ff",  # a break without a beginning
        "6180",  # not UTF-8
        "9b7fffffffffffffff",  # a length of more than there is
    ],
)
def test_anything_else_is_one_error(encoded: str) -> None:
    with pytest.raises(CborError):
        decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "tag",
    [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799],
)
def test_tags_that_start_work_are_refused(tag: int) -> None:
    for content in (1, "1", b"1", [1, 2]):
        with pytest.raises(CborError):
            decode(cbor2.dumps({"a": cbor2.CBORTag(tag, content)}))


def test_other_tags_stay_tags() -> None:
    assert decode(bytes.fromhex("d20a")) == cbor2.CBORTag(18, 10)


def test_the_longest_input_is_read_and_a_byte_more_is_not() -> None:
    longest = cbor2.dumps(bytes(97))
    assert len(longest) == 99
    assert decode(longest, max_bytes=99) == bytes(97)
    with pytest.raises(CborError, match="99 bytes of CBOR are over the limit of 98"):
        decode(longest, max_bytes=98)


def test_the_deepest_nesting_is_read_and_a_level_more_is_not() -> None:
    assert decode(bytes.fromhex("81818101"), max_depth=4) == [[[1]]]
    with pytest.raises(CborError):
        decode(bytes.fromhex("8181818101"), max_depth=3)
    with pytest.raises(CborError):
        decode(b"\x81" * 900 + b"\x01", max_depth=4)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except CborError:
        return


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: type) -> None:
    assert decode(kind(b"\x81\x01")) == [1]
