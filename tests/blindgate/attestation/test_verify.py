"""What `verify` gives back, and how it is called."""

from __future__ import annotations

from datetime import datetime, timedelta

import cbor2
import pytest

from blindgate.attestation import (
    PcrMismatch,
    PcrSet,
    Trust,
    cose,
    errors,
    parse,
    verify,
    verify_chain_and_signature,
)
from tests.vectors.forge import (
    BLUE,
    GREEN,
    IMAGE_PCRS,
    MODULE_ID,
    NONCE,
    NOW,
    PINNED,
    ROOT,
    SHORT,
    document,
    pcr,
)

TRUST = Trust(PINNED, (BLUE, GREEN))


def test_an_attestation_says_what_the_document_says() -> None:
    attestation = verify(
        document(public_key=b"key", user_data=b"data"), trust=TRUST, nonce=NONCE, now=NOW
    )
    assert attestation.module_id == MODULE_ID
    assert attestation.timestamp == NOW
    assert (attestation.public_key, attestation.user_data) == (b"key", b"data")
    assert attestation.nonce == NONCE
    assert attestation.pcr_set is BLUE
    assert attestation.chain[0] == ROOT.certificate
    assert len(attestation.chain) == 5
    assert not attestation.debug_mode


def test_a_mismatch_names_the_pcrs_of_each_set_that_differ() -> None:
    other = document(SHORT, pcrs={**IMAGE_PCRS, 2: pcr("other")})
    with pytest.raises(PcrMismatch) as refused:
        verify(other, trust=TRUST, nonce=NONCE, now=NOW)
    assert refused.value.differing == {"blue": (2,), "green": (0, 1, 2)}
    assert "blue: PCR2; green: PCR0, PCR1, PCR2" in str(refused.value)


def test_maximum_age_can_be_set() -> None:
    late = NOW + timedelta(minutes=10)
    verify(document(), trust=TRUST, now=late, max_age=timedelta(minutes=10))
    with pytest.raises(errors.TimestampStale):
        verify(document(), trust=TRUST, now=late, max_age=timedelta(minutes=9))


def test_time_is_the_clock_unless_given() -> None:
    with pytest.raises(errors.UntrustedChain):
        verify(document(), trust=TRUST, nonce=NONCE)


def test_a_time_without_a_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify(document(), trust=TRUST, now=datetime(2026, 6, 1, 12, 0, 0))  # noqa: DTZ001


def test_an_empty_nonce_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nonce"):
        verify(document(nonce=b""), trust=TRUST, nonce=b"", now=NOW)


def test_chain_and_signature_alone_pass_debug_mode_and_any_image() -> None:
    debug = document(pcrs={i: bytes(48) for i in range(16)})
    attestation = verify_chain_and_signature(debug, root=PINNED, now=NOW)
    assert attestation.debug_mode
    assert attestation.pcr_set is None


def test_allowing_debug_mode_trusts_no_other_image() -> None:
    trust = Trust(PINNED, (GREEN, PcrSet.debug()), allow_debug=True)
    with pytest.raises(PcrMismatch):
        verify(document(), trust=trust, nonce=NONCE, now=NOW)


def test_a_debug_set_needs_the_policy_to_allow_debug_mode() -> None:
    debug = document(pcrs={i: bytes(48) for i in range(16)})
    with pytest.raises(errors.DebugMode):
        verify(debug, trust=Trust(PINNED, (PcrSet.debug(),)), nonce=NONCE, now=NOW)


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 15_000])
@pytest.mark.parametrize("tagged", [False, True])
def test_the_outer_layer_is_read_as_it_was_written(length: int, tagged: bool) -> None:
    layer = cose.Sign1(bytes(length), bytes(range(96)), tagged)
    assert cose.read(layer.encode()) == layer
    assert layer.encode().startswith(b"\xd2\x84" if tagged else b"\x84")
    assert layer.to_be_signed == cbor2.dumps(
        ["Signature1", bytes.fromhex("a1013822"), b"", bytes(length)]
    )


def test_a_document_has_16_kib_at_most() -> None:
    largest = cose.Sign1(bytes(16_384 - 108), bytes(96)).encode()
    assert len(largest) == 16_384
    assert len(cose.read(largest).payload) == 16_276
    with pytest.raises(errors.DocumentTooLarge):
        cose.read(cose.Sign1(bytes(16_384 - 107), bytes(96)).encode())


def test_reprs_hold_no_payload() -> None:
    attestation = verify(document(user_data=b"secret"), trust=TRUST, nonce=NONCE, now=NOW)
    shown = repr(attestation)
    assert MODULE_ID in shown
    for name in ("secret", "pcrs=", "public_key=", "user_data=", "nonce=", "chain="):
        assert name not in shown


def test_the_repr_of_a_parsed_document_leaves_certificates_and_signature_out() -> None:
    parsed = parse(document(public_key=b"the key"))
    shown = repr(parsed)
    assert MODULE_ID in shown
    assert "the key" in shown
    for name, hidden in (
        ("certificate", parsed.certificate),
        ("cabundle", parsed.cabundle),
        ("sign1", parsed.sign1),
    ):
        assert f"{name}=" not in shown
        assert repr(hidden) not in shown
