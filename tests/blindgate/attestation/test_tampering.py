"""No byte of a document that verifies can be another one, but for the signature's twin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.attestation import (
    Attestation,
    AttestationError,
    MalformedDocument,
    Trust,
    WrongSignature,
    parse,
    verify,
)
from tests.vectors.forge import BLUE, NONCE, NOW, P384_ORDER, PINNED, SHORT, document, twin

TRUST = Trust(PINNED, (BLUE,))
WHOLE = document()
SMALL = document(SHORT)


def _attested(changed: bytes) -> Attestation:
    return verify(changed, trust=TRUST, nonce=NONCE, now=NOW)


def _verify(changed: bytes) -> None:
    _attested(changed)


@pytest.mark.slow
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


def test_the_twin_of_a_signature_is_the_only_other_document_and_says_the_same() -> None:
    """(r, n - s) verifies wherever (r, s) does. No other change of the two numbers does."""
    other = SMALL[:-96] + twin(SMALL[-96:])
    assert other != SMALL
    assert _attested(other) == _attested(SMALL)
    r, s = int.from_bytes(SMALL[-96:-48]), int.from_bytes(SMALL[-48:])
    verifying = {(r, s), (r, P384_ORDER - s)}
    for first in (r, P384_ORDER - r, s, 0, 1, P384_ORDER):
        for second in (s, P384_ORDER - s, r, 0, 1, P384_ORDER):
            if (first, second) not in verifying:
                with pytest.raises(WrongSignature):
                    _verify(SMALL[:-96] + first.to_bytes(48) + second.to_bytes(48))


def test_no_document_cut_at_any_length_verifies() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(MalformedDocument):
            parse(SMALL[:length])


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
