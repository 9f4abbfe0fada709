"""OHTTP: RFC 9458 Appendix A to the byte, round trips in every suite, one error for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.sealing import dhkem, keys, ohttp
from blindgate.sealing.errors import KeyConfigError, OpenRejected, SealingError, UnknownKey
from blindgate.sealing.suites import SYMMETRIC, Kem, Symmetric

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = bytes(range(32))
PAIRS = {kem: keys.KeyPair.from_seed(7, kem, SEED) for kem in Kem}
EVERY_SUITE = pytest.mark.parametrize(
    ("kem", "symmetric"), [(kem, symmetric) for kem in Kem for symmetric in SYMMETRIC]
)


def only(pair: keys.KeyPair) -> Callable[[int], keys.KeyPair | None]:
    return lambda key_id: pair if key_id == pair.config.key_id else None


class TestAppendixA:
    """The complete example of RFC 9458, Appendix A."""

    private = bytes.fromhex("3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a")
    config = bytes.fromhex(
        "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003"
    )
    ephemeral = bytes.fromhex("bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73")
    request = bytes.fromhex("00034745540568747470730b6578616d706c652e636f6d012f")
    encapsulated_request = bytes.fromhex(
        "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472"
        "6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525"
    )
    response = bytes.fromhex("0140c8")
    response_nonce = bytes.fromhex("c789e7151fcba46158ca84b04464910d")
    encapsulated_response = bytes.fromhex(
        "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd"
    )

    def pair(self) -> keys.KeyPair:
        (config,) = keys.decode_list(len(self.config).to_bytes(2, "big") + self.config)
        return keys.KeyPair(config, Kem.X25519.private_key(self.private))

    def test_key_configuration(self) -> None:
        pair = self.pair()
        assert pair.config.encode() == self.config
        assert pair.config.symmetric == (Symmetric(1, 1), Symmetric(1, 3))
        assert Kem.X25519.public_bytes(pair.private) == pair.config.public_key

    def test_request(self) -> None:
        ephemeral = dhkem.DhkemPrivateKey(self.ephemeral)
        sealed = ohttp.seal_request(
            self.pair().config,
            self.request,
            symmetric=Symmetric(1, 1),
            ephemeral=ephemeral,
        )
        assert sealed.encapsulated == self.encapsulated_request
        assert sealed.response.open(self.encapsulated_response) == self.response

    def test_response(self) -> None:
        opened = ohttp.open_request(self.encapsulated_request, only(self.pair()))
        assert opened.message == self.request
        sealed = opened.response.seal(self.response, nonce=self.response_nonce)
        assert sealed == self.encapsulated_response


@EVERY_SUITE
def test_every_suite_survives_a_round_trip(kem: Kem, symmetric: Symmetric) -> None:
    sealed = ohttp.seal_request(PAIRS[kem].config, b"question", symmetric=symmetric)
    assert ohttp.key_id(sealed.encapsulated) == 7
    opened = ohttp.open_request(bytearray(sealed.encapsulated), only(PAIRS[kem]))
    assert opened.message.tobytes() == b"question"
    assert sealed.response.open(opened.response.seal(b"answer")) == b"answer"


@settings(max_examples=15, deadline=None)
@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_any_bytes_survive_a_round_trip(question: bytes, answer: bytes) -> None:
    pair = PAIRS[Kem.X25519]
    sealed = ohttp.seal_request(pair.config, question)
    opened = ohttp.open_request(sealed.encapsulated, only(pair))
    assert opened.message == question
    assert sealed.response.open(opened.response.seal(answer)) == answer


@pytest.mark.parametrize("kem", list(Kem))
def test_every_changed_byte_is_refused_alike(kem: Kem) -> None:
    pair = PAIRS[kem]
    sealed = ohttp.seal_request(pair.config, b"question").encapsulated
    step = 1 if kem is Kem.X25519 else 37
    for at in range(3, len(sealed), step):
        changed = bytearray(sealed)
        changed[at] ^= 0x10
        with pytest.raises(OpenRejected) as refused:
            ohttp.open_request(changed, only(pair))
        assert refused.value.args == OpenRejected().args
        assert refused.value.__cause__ is None


def test_a_truncated_request_is_refused() -> None:
    pair = PAIRS[Kem.X25519]
    sealed = ohttp.seal_request(pair.config, b"").encapsulated
    for end in range(len(sealed)):
        with pytest.raises(OpenRejected):
            ohttp.open_request(sealed[:end], only(pair))
    with pytest.raises(OpenRejected):
        ohttp.key_id(b"\x07")


def test_an_unknown_key_id_or_kem_is_told_apart() -> None:
    pair = PAIRS[Kem.X25519]
    sealed = ohttp.seal_request(pair.config, b"").encapsulated
    with pytest.raises(UnknownKey):
        ohttp.open_request(b"\x08" + sealed[1:], only(pair))
    with pytest.raises(UnknownKey):
        ohttp.open_request(sealed, only(PAIRS[Kem.XWING]))


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_point_of_low_order_is_refused(point: bytes) -> None:
    pair = PAIRS[Kem.X25519]
    sealed = ohttp.seal_request(pair.config, b"question").encapsulated
    with pytest.raises(OpenRejected):
        ohttp.open_request(sealed[:7] + point + sealed[39:], only(pair))
    bad = keys.KeyConfig(7, Kem.X25519, point)
    with pytest.raises(KeyConfigError):
        ohttp.seal_request(bad, b"question")


def test_an_answer_opens_only_for_its_own_request() -> None:
    pair = PAIRS[Kem.X25519]
    first, second = (ohttp.seal_request(pair.config, b"question") for _ in range(2))
    answer = ohttp.open_request(first.encapsulated, only(pair)).response.seal(b"answer")
    assert first.response.open(answer) == b"answer"
    with pytest.raises(OpenRejected):
        second.response.open(answer)
    for changed in (answer[:-1], answer[:20], b"", answer[:40] + b"\0" + answer[41:]):
        with pytest.raises(OpenRejected):
            first.response.open(changed)


def test_an_algorithm_that_the_key_does_not_allow_is_refused() -> None:
    pair = PAIRS[Kem.X25519]
    config = keys.KeyConfig(7, Kem.X25519, pair.config.public_key, (Symmetric(1, 3),))
    assert config.choose() == Symmetric(1, 3)
    with pytest.raises(KeyConfigError):
        ohttp.seal_request(config, b"", symmetric=Symmetric(1, 1))
    sealed = ohttp.seal_request(pair.config, b"", symmetric=Symmetric(1, 1)).encapsulated
    with pytest.raises(OpenRejected):
        ohttp.open_request(sealed, only(keys.KeyPair(config, pair.private)))


@pytest.mark.parametrize("symmetric", [Symmetric(3, 2), Symmetric(1, 9), Symmetric(1, 0xFFFF)])
def test_an_algorithm_that_we_do_not_speak_is_a_fault_of_the_configuration(
    symmetric: Symmetric,
) -> None:
    public = PAIRS[Kem.X25519].config.public_key
    config = keys.KeyConfig(7, Kem.X25519, public, (symmetric,))
    for asked in (None, symmetric):
        with pytest.raises(KeyConfigError, match="no algorithm that we speak"):
            ohttp.seal_request(config, b"question", symmetric=asked)
    with pytest.raises(KeyConfigError, match="no key configuration is usable"):
        keys.choose([config])


def test_secrets_do_not_show() -> None:
    pair = keys.KeyPair.from_seed(7, Kem.XWING, SEED)
    sealed = ohttp.seal_request(pair.config, b"a very secret question")
    opened = ohttp.open_request(sealed.encapsulated, only(pair))
    for shown in map(repr, (pair, pair.private, sealed, opened, opened.response, sealed.response)):
        assert "secret" not in shown
        assert SEED.hex() not in shown
        assert repr(SEED)[2:-1] not in shown


@EVERY_SUITE
def test_the_nonce_of_an_answer_has_the_length_of_the_longer_of_key_and_nonce(
    kem: Kem, symmetric: Symmetric
) -> None:
    """RFC 9458 §4.4: max(Nn, Nk), 16 or 32 bytes; the answer's overhead says so."""
    sealed = ohttp.seal_request(PAIRS[kem].config, b"question", symmetric=symmetric)
    opened = ohttp.open_request(bytearray(sealed.encapsulated), only(PAIRS[kem]))
    size = 16 if symmetric.aead == 1 else 32
    assert len(opened.response.seal(b"answer")) == size + len(b"answer") + 16
    assert len(opened.response.seal(b"answer", padded_to=100)) == size + 100 + 16
    for length in (0, size - 1, size + 1):
        with pytest.raises(SealingError, match="another length"):
            opened.response.seal(b"answer", nonce=bytes(length))


def test_an_empty_answer_is_opened_and_a_shorter_one_refused() -> None:
    sealed = ohttp.seal_request(PAIRS[Kem.X25519].config, b"question")
    opened = ohttp.open_request(bytearray(sealed.encapsulated), only(PAIRS[Kem.X25519]))
    answer = bytes(opened.response.seal(b""))
    assert sealed.response.open(answer) == b""
    for length in range(len(answer)):
        with pytest.raises(OpenRejected):
            sealed.response.open(answer[:length])
