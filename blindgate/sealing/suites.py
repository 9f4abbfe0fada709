"""The HPKE algorithms that Blindgate speaks (RFC 9180 §7, IANA's HPKE registry)."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from blindgate.sealing import dhkem, xwing

PrivateKey = dhkem.DhkemPrivateKey | xwing.XWingPrivateKey
Cipher = AESGCM | ChaCha20Poly1305


class Kem(enum.IntEnum):
    """Key encapsulation mechanisms, the preferred one first."""

    XWING = xwing.KEM_ID
    X25519 = dhkem.KEM_ID

    @property
    def public_key_size(self) -> int:
        """Npk: bytes of a public key."""
        return xwing.PUBLIC_KEY_SIZE if self is Kem.XWING else dhkem.PUBLIC_KEY_SIZE

    @property
    def encapsulated_size(self) -> int:
        """Nenc: bytes of an encapsulated secret."""
        return xwing.CIPHERTEXT_SIZE if self is Kem.XWING else dhkem.ENCAPSULATED_SIZE

    def private_key(self, seed: bytes) -> PrivateKey:
        """The private key that 32 uniform bytes stand for.

        Raises:
            ValueError: There are not 32 bytes.
        """
        return xwing.XWingPrivateKey(seed) if self is Kem.XWING else dhkem.DhkemPrivateKey(seed)

    def public_bytes(self, private: PrivateKey) -> bytes:
        """The encoded public key of a private one."""
        return private.to_public_bytes()


class Kdf(enum.IntEnum):
    """Key derivation functions."""

    HKDF_SHA256 = 0x0001


class Aead(enum.IntEnum):
    """Authenticated ciphers, the preferred one first."""

    AES_256_GCM = 0x0002
    AES_128_GCM = 0x0001
    CHACHA20_POLY1305 = 0x0003

    @property
    def key_size(self) -> int:
        """Nk: bytes of a key."""
        return 16 if self is Aead.AES_128_GCM else 32

    @property
    def cipher(self) -> type[Cipher]:
        """What makes a cipher of a key."""
        return ChaCha20Poly1305 if self is Aead.CHACHA20_POLY1305 else AESGCM


#: Nn and Nt of all three ciphers: bytes of a nonce and of a tag.
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16


class Symmetric(NamedTuple):
    """One pair of KDF and AEAD that a key may be used with (RFC 9458 §3.1)."""

    kdf: int
    aead: int

    @property
    def supported(self) -> bool:
        """Whether this implementation speaks both."""
        return self.kdf in _KDFS and self.aead in _AEADS


_KDFS: Final = frozenset(map(int, Kdf))
_AEADS: Final = frozenset(map(int, Aead))

#: What our enclaves offer and what our clients choose from, in order of preference: with
#: AES-256 the cipher is not the weak part of a post-quantum suite.
SYMMETRIC: Final = tuple(Symmetric(Kdf.HKDF_SHA256, aead) for aead in Aead)
