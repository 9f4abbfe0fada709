"""X-Wing against the draft's vector and against `cryptography`'s own HPKE."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from blindgate.sealing import dhkem, xwing
from blindgate.sealing.hpke import BaseMode
from blindgate.sealing.suites import SYMMETRIC, Aead, Kem, Symmetric

# draft-connolly-cfrg-xwing-kem, Appendix C, the first test vector.
SEED = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
CIPHERTEXT = bytes.fromhex(
    "b83aa828d4d62b9a83ceffe1d3d3bb1ef31264643c070c5798927e41fb07914a273f8f96e7826cd5375a283d7da885304c5de0516a0f0654243dc5b97f8bfeb831f68251219aabdd"
    "723bc6512041acbaef8af44265524942b902e68ffd23221cda70b1b55d776a92d1143ea3a0c475f63ee6890157c7116dae3f62bf72f60acd2bb8cc31ce2ba0de364f52b8ed38c79d"
    "719715963a5dd3842d8e8b43ab704e4759b5327bf027c63c8fa857c4908d5a8a7b88ac7f2be394d93c3706ddd4e698cc6ce370101f4d0213254238b4a2e8821b6e414a1cf20f6c12"
    "44b699046f5a01caa0a1a55516300b40d2048c77cc73afba79afeea9d2c0118bdf2adb8870dc328c5516cc45b1a2058141039e2c90a110a9e16b318dfb53bd49a126d6b73f215787"
    "517b8917cc01cabd107d06859854ee8b4f9861c226d3764c87339ab16c3667d2f49384e55456dd40414b70a6af841585f4c90c68725d57704ee8ee7ce6e2f9be582dbee985e038ff"
    "c346ebfb4e22158b6c84374a9ab4a44e1f91de5aac5197f89bc5e5442f51f9a5937b102ba3beaebf6e1c58380a4a5fedce4a4e5026f88f528f59ffd2db41752b3a3d90efabe46389"
    "9b7d40870c530c8841e8712b733668ed033adbfafb2d49d37a44d4064e5863eb0af0a08d47b3cc888373bc05f7a33b841bc2587c57eb69554e8a3767b7506917b6b70498727f16ea"
    "c1a36ec8d8cfaf751549f2277db277e8a55a9a5106b23a0206b4721fa9b3048552c5bd5b594d6e247f38c18c591aea7f56249c72ce7b117afcc3a8621582f9cf71787e183dee0936"
    "7976e98409ad9217a497df888042384d7707a6b78f5f7fb8409e3b535175373461b776002d799cbad62860be70573ecbe13b246e0da7e93a52168e0fb6a9756b895ef7f0147a0dc8"
    "1bfa644b088a9228160c0f9acf1379a2941cd28c06ebc80e44e17aa2f8177010afd78a97ce0868d1629ebb294c5151812c583daeb88685220f4da9118112e07041fcc24d5564a99f"
    "dbde28869fe0722387d7a9a4d16e1cc8555917e09944aa5ebaaaec2cf62693afad42a3f518fce67d273cc6c9fb5472b380e8573ec7de06a3ba2fd5f931d725b493026cb0acbd3fe6"
    "2d00e4c790d965d7a03a3c0b4222ba8c2a9a16e2ac658f572ae0e746eafc4feba023576f08942278a041fb82a70a595d5bacbf297ce2029898a71e5c3b0d1c6228b485b1ade509b3"
    "5fbca7eca97b2132e7cb6bc465375146b7dceac969308ac0c2ac89e7863eb8943015b24314cafb9c7c0e85fe543d56658c213632599efabfc1ec49dd8c88547bb2cc40c9d38cbd30"
    "99b4547840560531d0188cd1e9c23a0ebee0a03d5577d66b1d2bcb4baaf21cc7fef1e03806ca96299df0dfbc56e1b2b43e4fc20c37f834c4af62127e7dae86c3c25a2f696ac8b589"
    "dec71d595bfbe94b5ed4bc07d800b330796fda89edb77be0294136139354eb8cd37591578f9c600dd9be8ec6219fdd507adf3397ed4d68707b8d13b24ce4cd8fb22851bfe9d63240"
    "7f31ed6f7cb1600de56f17576740ce2a32fc5145030145cfb97e63e0e41d354274a079d3e6fb2e15"
)  # fmt: skip
SECRET = bytes.fromhex("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384")

THEIR_AEADS = {
    Aead.AES_256_GCM: hpke.AEAD.AES_256_GCM,
    Aead.AES_128_GCM: hpke.AEAD.AES_128_GCM,
    Aead.CHACHA20_POLY1305: hpke.AEAD.CHACHA20_POLY1305,
}
EVERY_AEAD = pytest.mark.parametrize("symmetric", SYMMETRIC)


def theirs(symmetric: Symmetric) -> hpke.Suite:
    aead = THEIR_AEADS[Aead(symmetric.aead)]
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, aead)


def test_the_vector_of_the_draft() -> None:
    key = xwing.XWingPrivateKey(SEED)
    public = key.to_public_bytes()
    assert public[:16].hex() == "e2236b35a8c24b39b10aa1323a96a919"
    assert public[-16:].hex() == "216223593d4ba32d9abac8cd049040ef6534"[-32:]
    assert xwing.decapsulate(key, CIPHERTEXT) == SECRET


def test_a_fresh_secret_survives_a_round_trip() -> None:
    key = xwing.XWingPrivateKey(SEED)
    secret, ciphertext = xwing.encapsulate(key.public_key())
    assert len(ciphertext) == xwing.CIPHERTEXT_SIZE
    assert xwing.decapsulate(key, ciphertext) == secret
    assert xwing.encapsulate(key.public_key())[0] != secret


@EVERY_AEAD
def test_cryptography_opens_what_we_seal(symmetric: Symmetric) -> None:
    key = xwing.XWingPrivateKey(SEED)
    mode = BaseMode(Kem.XWING, symmetric, b"info")
    enc, sealed, _ = mode.seal(key.to_public_bytes(), b"text")
    private = hpke.MLKEM768X25519PrivateKey(key.mlkem, key.x25519)
    assert theirs(symmetric).decrypt(enc + sealed, private, b"info") == b"text"


@EVERY_AEAD
def test_we_open_what_cryptography_seals(symmetric: Symmetric) -> None:
    key = xwing.XWingPrivateKey(SEED)
    public = hpke.MLKEM768X25519PublicKey(key.mlkem.public_key(), key.x25519.public_key())
    sealed = theirs(symmetric).encrypt(b"text", public, b"info")
    enc, ciphertext = sealed[: xwing.CIPHERTEXT_SIZE], sealed[xwing.CIPHERTEXT_SIZE :]
    place = memoryview(bytearray(ciphertext))
    opened, _ = BaseMode(Kem.XWING, symmetric, b"info").open(key, enc, place)
    assert opened.tobytes() == b"text"
    assert bytes(place[:4]) == b"text", "the plaintext takes the ciphertext's place"


@EVERY_AEAD
def test_x25519_agrees_with_cryptography_both_ways(symmetric: Symmetric) -> None:
    key = dhkem.DhkemPrivateKey(SEED)
    mode = BaseMode(Kem.X25519, symmetric, b"info")
    aead = THEIR_AEADS[Aead(symmetric.aead)]
    other = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, aead)
    enc, sealed, _ = mode.seal(key.to_public_bytes(), b"text")
    assert other.decrypt(enc + sealed, key.x25519, b"info") == b"text"
    sealed = other.encrypt(b"text", key.x25519.public_key(), b"info")
    opened, _ = mode.open(key, sealed[:32], memoryview(bytearray(sealed[32:])))
    assert opened.tobytes() == b"text"


def test_a_forged_ciphertext_gives_another_secret() -> None:
    key = xwing.XWingPrivateKey(SEED)
    forged = bytearray(CIPHERTEXT)
    forged[0] ^= 1
    assert xwing.decapsulate(key, bytes(forged)) != SECRET


def test_another_info_is_refused_by_cryptography() -> None:
    key = xwing.XWingPrivateKey(SEED)
    mode = BaseMode(Kem.XWING, SYMMETRIC[0], b"info")
    enc, sealed, _ = mode.seal(key.to_public_bytes(), b"text")
    private = hpke.MLKEM768X25519PrivateKey(key.mlkem, key.x25519)
    with pytest.raises(InvalidTag):
        theirs(SYMMETRIC[0]).decrypt(enc + sealed, private, b"other")


def test_wrong_lengths_are_refused() -> None:
    key = xwing.XWingPrivateKey(SEED)
    with pytest.raises(ValueError, match="seed"):
        xwing.XWingPrivateKey(SEED[:-1])
    with pytest.raises(ValueError, match="1216"):
        xwing.XWingPublicKey(key.to_public_bytes() + b"\0")
    with pytest.raises(ValueError, match="1120"):
        xwing.decapsulate(key, CIPHERTEXT[:-1])
