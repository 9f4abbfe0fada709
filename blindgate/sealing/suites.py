"""The HPKE algorithms that Blindgate speaks (RFC 9180 §7, IANA's HPKE registry)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMInterface, KEMKey, KEMKeyInterface

from blindgate.sealing import xwing


class Kem(enum.IntEnum):
    """Key encapsulation mechanisms, the preferred one first."""

    XWING = xwing.KEM_ID
    X25519 = KEMId.DHKEM_X25519_HKDF_SHA256.value

    @property
    def public_key_size(self) -> int:
        """Npk: bytes of a public key."""
        return xwing.PUBLIC_KEY_SIZE if self is Kem.XWING else 32

    @property
    def encapsulated_size(self) -> int:
        """Nenc: bytes of an encapsulated secret."""
        return xwing.CIPHERTEXT_SIZE if self is Kem.XWING else 32

    def private_key(self, seed: bytes) -> KEMKeyInterface:
        """The private key that 32 uniform bytes stand for.

        Raises:
            ValueError: There are not 32 bytes.
        """
        if self is Kem.XWING:
            return xwing.XWingPrivateKey(seed)
        return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(seed))

    def public_bytes(self, private: KEMKeyInterface) -> bytes:
        """The encoded public key of a private one."""
        if isinstance(private, xwing.XWingPrivateKey):
            return private.to_public_bytes()
        encoded: bytes = private.raw.public_key().public_bytes_raw()
        return encoded


class Kdf(enum.IntEnum):
    """Key derivation functions."""

    HKDF_SHA256 = KDFId.HKDF_SHA256.value


class Aead(enum.IntEnum):
    """Authenticated ciphers, the preferred one first."""

    AES_256_GCM = AEADId.AES256_GCM.value
    AES_128_GCM = AEADId.AES128_GCM.value
    CHACHA20_POLY1305 = AEADId.CHACHA20_POLY1305.value


@dataclass(frozen=True, slots=True)
class Symmetric:
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


@cache
def cipher_suite(kem: Kem, symmetric: Symmetric) -> CipherSuite:
    """The HPKE suite of three algorithms; stateless, so one object serves everybody.

    Raises:
        ValueError: The symmetric pair is not supported.
    """
    kdf, aead = KDFId(symmetric.kdf), AEADId(symmetric.aead)
    if not symmetric.supported:
        raise ValueError("this pair of KDF and AEAD is not supported")
    base = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, kdf, aead)
    kem_algorithm: KEMInterface = xwing.XWing() if kem is Kem.XWING else base.kem
    return CipherSuite(kem_algorithm, base.kdf, base.aead)
