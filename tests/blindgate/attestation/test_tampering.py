"""No byte of a document that verifies can be another one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.attestation import AttestationError, MalformedDocument, Trust, parse, verify
from tests.vectors.forge import BLUE, NONCE, NOW, PINNED, SHORT, document

TRUST = Trust(PINNED, (BLUE,))
WHOLE = document()
SMALL = document(SHORT)


def _verify(changed: bytes) -> None:
    verify(changed, trust=TRUST, nonce=NONCE, now=NOW)


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_no_document_with_a_flipped_byte_verifies(flip: int) -> None:
    _verify(SMALL)
    for position in range(len(SMALL)):
        changed = bytearray(SMALL)
        changed[position] ^= flip
        with pytest.raises(AttestationError):
            _verify(bytes(changed))


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255))
def test_no_nitro_shaped_document_with_a_changed_byte_verifies(position: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[position] ^= flip
    with pytest.raises(AttestationError):
        _verify(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, len(SMALL)), more=st.binary(min_size=1, max_size=8))
def test_no_document_with_more_bytes_verifies(position: int, more: bytes) -> None:
    if position == 0 and more == b"\xd2":  # tag 18, the one freedom that the specification gives
        return
    with pytest.raises(AttestationError):
        _verify(SMALL[:position] + more + SMALL[position:])


@settings(max_examples=100, deadline=None)
@given(start=st.integers(0, len(SMALL) - 1), count=st.integers(1, 64))
def test_no_document_with_fewer_bytes_verifies(start: int, count: int) -> None:
    with pytest.raises(AttestationError):
        _verify(SMALL[:start] + SMALL[start + count :])


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedDocument):
        parse(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SMALL) - 97), st.binary(max_size=12))
def test_parsing_raises_nothing_but_its_own_errors(position: int, junk: bytes) -> None:
    changed = SMALL[:position] + junk + SMALL[position + len(junk) :]
    try:
        parse(changed)
    except MalformedDocument:
        return
