"""HPKE against RFC 9180's own vector, and against pyhpke in every suite, both ways."""

from __future__ import annotations

from typing import Any

import pyhpke
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.sealing import dhkem, hkdf, hpke, xwing
from blindgate.sealing.suites import SYMMETRIC, Kem, Symmetric

SEED = bytes(range(32))
EVERY_SUITE = pytest.mark.parametrize(
    ("kem", "symmetric"), [(kem, symmetric) for kem in Kem for symmetric in SYMMETRIC]
)


class TestAppendixA11:
    """RFC 9180 A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode."""

    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    ephemeral = dhkem.DhkemPrivateKey(
        bytes.fromhex("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736")
    )
    receiver = dhkem.DhkemPrivateKey(
        bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    )
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    secret = bytes.fromhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc")
    message = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
    aad = bytes.fromhex("436f756e742d30")
    ciphertext = bytes.fromhex(
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    exported = (
        (b"", "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"),
        (b"\x00", "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5"),
        (b"TestContext", "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931"),
    )
    mode = hpke.BaseMode(Kem.X25519, Symmetric(1, 1), info)

    def test_the_kem(self) -> None:
        public = self.receiver.to_public_bytes()
        sent = dhkem.encapsulate(public, ephemeral=self.ephemeral)
        assert sent == (self.secret, self.enc)
        assert dhkem.decapsulate(self.receiver, self.enc) == self.secret

    def test_the_sender(self) -> None:
        public = self.receiver.to_public_bytes()
        enc, ciphertext, exporter = self.mode.seal(
            public, self.message, aad=self.aad, ephemeral=self.ephemeral
        )
        assert (enc, ciphertext) == (self.enc, self.ciphertext)
        for context, value in self.exported:
            assert exporter.export(context, 32).hex() == value

    def test_the_receiver(self) -> None:
        ciphertext = memoryview(bytearray(self.ciphertext))
        message, exporter = self.mode.open(self.receiver, self.enc, ciphertext, aad=self.aad)
        assert message.tobytes() == self.message
        for context, value in self.exported:
            assert exporter.export(context, 32).hex() == value


class PyhpkeXWing(pyhpke.KEMInterface):
    """X-Wing in the shape of pyhpke, whose own KEMs are the curves alone."""

    class _Id:
        value = xwing.KEM_ID

    @property
    def id(self) -> Any:
        return self._Id()

    def deserialize_private_key(self, key: bytes) -> Any:
        return xwing.XWingPrivateKey(key)

    def deserialize_public_key(self, key: bytes) -> Any:
        return xwing.XWingPublicKey(key)

    def encap(self, pkr: Any, sks: Any = None, eks: Any = None) -> tuple[bytes, bytes]:
        return xwing.encapsulate(pkr)

    def decap(self, enc: bytes, skr: Any, pks: Any = None) -> bytes:
        return xwing.decapsulate(skr, enc)

    def derive_key_pair(self, ikm: bytes) -> Any:
        raise NotImplementedError


def theirs(kem: Kem, symmetric: Symmetric) -> pyhpke.CipherSuite:
    suite = pyhpke.CipherSuite.new(
        pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256,
        pyhpke.KDFId(symmetric.kdf),
        pyhpke.AEADId(symmetric.aead),
    )
    if kem is Kem.X25519:
        return suite
    return pyhpke.CipherSuite(PyhpkeXWing(), suite.kdf, suite.aead)


def their_private_key(kem: Kem, seed: bytes) -> Any:
    if kem is Kem.XWING:
        return xwing.XWingPrivateKey(seed)
    return pyhpke.KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(seed))


MESSAGES = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=100),
    st.binary(max_size=300),
    st.binary(max_size=30),
    st.binary(max_size=30),
    st.integers(1, 32),
)
Message = tuple[bytes, bytes, bytes, bytes, bytes, int]


@EVERY_SUITE
@settings(max_examples=15, deadline=None)
@given(MESSAGES)
def test_pyhpke_opens_what_we_seal(kem: Kem, symmetric: Symmetric, drawn: Message) -> None:
    seed, info, message, aad, context, length = drawn
    public = kem.private_key(seed).to_public_bytes()
    enc, sealed, exporter = hpke.BaseMode(kem, symmetric, info).seal(public, message, aad=aad)
    other = theirs(kem, symmetric).create_recipient_context(enc, their_private_key(kem, seed), info)
    assert other.open(sealed, aad) == message
    assert other.export(context, length) == exporter.export(context, length)


@EVERY_SUITE
@settings(max_examples=15, deadline=None)
@given(MESSAGES)
def test_we_open_what_pyhpke_seals(kem: Kem, symmetric: Symmetric, drawn: Message) -> None:
    seed, info, message, aad, context, length = drawn
    key = kem.private_key(seed)
    suite = theirs(kem, symmetric)
    public = suite.kem.deserialize_public_key(key.to_public_bytes())
    enc, other = suite.create_sender_context(public, info)
    sealed = other.seal(message, aad)
    ours = memoryview(bytearray(sealed))
    opened, exporter = hpke.BaseMode(kem, symmetric, info).open(key, enc, ours, aad=aad)
    assert opened.tobytes() == message
    assert other.export(context, length) == exporter.export(context, length)


@EVERY_SUITE
def test_what_was_changed_is_not_opened(kem: Kem, symmetric: Symmetric) -> None:
    key = kem.private_key(SEED)
    mode = hpke.BaseMode(kem, symmetric, b"info")
    enc, sealed, _ = mode.seal(key.to_public_bytes(), b"message", aad=b"aad")
    other = hpke.BaseMode(kem, symmetric, b"another info")
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    for opening, ciphertext, aad in (
        (other, sealed, b"aad"),
        (mode, sealed, b"another aad"),
        (mode, flipped, b"aad"),
        (mode, sealed[:-1], b"aad"),
        (mode, b"", b"aad"),
    ):
        with pytest.raises(InvalidTag):
            opening.open(key, enc, memoryview(bytearray(ciphertext)), aad=aad)


def test_two_messages_never_share_a_key() -> None:
    public = Kem.X25519.private_key(SEED).to_public_bytes()
    mode = hpke.BaseMode(Kem.X25519, SYMMETRIC[0], b"info")
    first, second = (mode.seal(public, b"message") for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_shared_secret_of_zeros_is_refused(point: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - cryptography's, of no fixed wording
        dhkem.encapsulate(point)
    with pytest.raises(ValueError):  # noqa: PT011
        dhkem.decapsulate(dhkem.DhkemPrivateKey(SEED), point)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_length_are_refused(size: int) -> None:
    key = dhkem.DhkemPrivateKey(SEED)
    with pytest.raises(ValueError, match="32 bytes"):
        dhkem.DhkemPrivateKey(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        dhkem.encapsulate(b"\x09" * size)
    with pytest.raises(ValueError, match="32 bytes"):
        dhkem.decapsulate(key, b"\x09" * size)


def test_a_key_of_another_kem_is_refused() -> None:
    for kem, other in ((Kem.XWING, Kem.X25519), (Kem.X25519, Kem.XWING)):
        mode = hpke.BaseMode(kem, SYMMETRIC[0], b"")
        enc, sealed, _ = mode.seal(kem.private_key(SEED).to_public_bytes(), b"message")
        with pytest.raises(ValueError, match="another KEM"):
            mode.open(other.private_key(SEED), enc, memoryview(bytearray(sealed)))


def test_xwing_takes_no_ephemeral_key() -> None:
    public = Kem.XWING.private_key(SEED).to_public_bytes()
    mode = hpke.BaseMode(Kem.XWING, SYMMETRIC[0], b"")
    with pytest.raises(ValueError, match="randomness"):
        mode.seal(public, b"", ephemeral=dhkem.DhkemPrivateKey(SEED))


@pytest.mark.parametrize("symmetric", [Symmetric(1, 0xFFFF), Symmetric(2, 1), Symmetric(0, 0)])
def test_what_we_do_not_speak_is_refused(symmetric: Symmetric) -> None:
    with pytest.raises(ValueError, match="not supported"):
        hpke.BaseMode(Kem.X25519, symmetric, b"")


def test_more_than_one_hash_is_not_derived() -> None:
    _, _, exporter = hpke.BaseMode(Kem.X25519, SYMMETRIC[0], b"").seal(
        dhkem.DhkemPrivateKey(SEED).to_public_bytes(), b""
    )
    with pytest.raises(ValueError, match="at most 32"):
        exporter.export(b"", 33)
    with pytest.raises(ValueError, match="at most 32"):
        hkdf.expand(SEED, b"", 33)


def test_rfc_5869_test_case_1() -> None:
    prk = hkdf.extract(bytes.fromhex("000102030405060708090a0b0c"), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    first = hkdf.expand(prk, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 32)
    assert first.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_secrets_do_not_show() -> None:
    key = dhkem.DhkemPrivateKey(SEED)
    _, _, exporter = hpke.BaseMode(Kem.X25519, SYMMETRIC[0], b"").seal(key.to_public_bytes(), b"")
    assert repr(key) == "DhkemPrivateKey(redacted)"
    assert repr(exporter) == "Exporter(redacted)"
    mode = hpke.BaseMode(Kem.X25519, Symmetric(1, 1), b"")
    assert repr(mode) == "BaseMode(X25519, AESGCM, 128 bits)"
