"""A root of one's own is read, or refused with one kind of error."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.attestation import Root
from blindgate.attestation.errors import InvalidRoot
from tests.vectors.forge import ROOT

DER = ROOT.root.der


def pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    changed = bytearray(DER)
    changed[place] = value
    # Any other error would fail the test: some bytes, as of a name's text, may differ.
    with contextlib.suppress(InvalidRoot):
        assert len(Root.from_pem(pem(bytes(changed))).fingerprint) == 64


@given(st.integers(0, len(DER) - 1))
def test_a_missing_end_is_refused(length: int) -> None:
    with pytest.raises(InvalidRoot):
        Root.from_pem(pem(DER[:length]))


@pytest.mark.parametrize("version", [b"\x03", b"\x7f"])
def test_a_version_that_there_is_not_is_refused(version: bytes) -> None:
    before = b"\xa0\x03\x02\x01\x02"
    assert before in DER
    with pytest.raises(InvalidRoot):
        Root.from_pem(pem(DER.replace(before, before[:-1] + version, 1)))


def test_a_key_on_an_unknown_curve_is_refused() -> None:
    curve = bytes.fromhex("06052b81040022")  # 1.3.132.0.34, P-384
    assert curve in DER
    with pytest.raises(InvalidRoot):
        Root.from_pem(pem(DER.replace(curve, curve[:-1] + b"\x7e")))


@pytest.mark.parametrize(
    "content", [b"", b"text", pem(b""), pem(DER) * 2, pem(DER)[:-30], b"\xff" * 100]
)
def test_what_is_not_one_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRoot):
        Root.from_pem(content)
