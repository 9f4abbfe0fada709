"""X-Wing, the hybrid KEM of ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem-10).

It stays safe as long as one of the two does: a recorded request cannot be opened later by
whoever then has a quantum computer. HPKE lists it as KEM 0x647a. The lattice and the curve are
`cryptography`'s; only the combination is here.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEM_ID: Final = 0x647A
SEED_SIZE: Final = 32
PUBLIC_KEY_SIZE: Final = 1216
CIPHERTEXT_SIZE: Final = 1120

_MLKEM_PUBLIC_KEY_SIZE: Final = 1184
_MLKEM_CIPHERTEXT_SIZE: Final = 1088
#: The six bytes of ASCII art that separate this combiner from others (§5.3).
_LABEL: Final = rb"\./" + rb"/^" + b"\\"


class XWingPublicKey:
    """An encapsulation key: ML-KEM-768's, then X25519's.

    Args:
        encoded: 1216 bytes.

    Raises:
        ValueError: The length is wrong or ML-KEM's part is not reduced (FIPS 203 §7.2).
    """

    def __init__(self, encoded: bytes) -> None:
        if len(encoded) != PUBLIC_KEY_SIZE:
            raise ValueError(f"an X-Wing public key has {PUBLIC_KEY_SIZE} bytes")
        self._encoded = encoded
        self.mlkem = MLKEM768PublicKey.from_public_bytes(encoded[:_MLKEM_PUBLIC_KEY_SIZE])
        self.x25519_bytes = encoded[_MLKEM_PUBLIC_KEY_SIZE:]
        self.x25519 = X25519PublicKey.from_public_bytes(self.x25519_bytes)

    def to_public_bytes(self) -> bytes:
        """The 1216 bytes."""
        return self._encoded


class XWingPrivateKey:
    """A decapsulation key, expanded from its seed (§5.2).

    Args:
        seed: 32 uniform bytes.

    Raises:
        ValueError: The seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"an X-Wing private key is a seed of {SEED_SIZE} bytes")
        expanded = hashlib.shake_256(seed).digest(96)
        self.mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.x25519_public_bytes = self.x25519.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "XWingPrivateKey(redacted)"

    def public_key(self) -> XWingPublicKey:
        """The key to encapsulate to."""
        return XWingPublicKey(self.to_public_bytes())

    def to_public_bytes(self) -> bytes:
        """The 1216 bytes of the public key."""
        return self.mlkem.public_key().public_bytes_raw() + self.x25519_public_bytes


def encapsulate(key: XWingPublicKey) -> tuple[bytes, bytes]:
    """A fresh shared secret (32 bytes) and the ciphertext (1120 bytes) that carries it."""
    mlkem_secret, mlkem_ciphertext = key.mlkem.encapsulate()
    ephemeral = X25519PrivateKey.generate()
    x25519_ciphertext = ephemeral.public_key().public_bytes_raw()
    x25519_secret = ephemeral.exchange(key.x25519)
    secret = _combine(mlkem_secret, x25519_secret, x25519_ciphertext, key.x25519_bytes)
    return secret, mlkem_ciphertext + x25519_ciphertext


def decapsulate(key: XWingPrivateKey, ciphertext: bytes) -> bytes:
    """The shared secret in `ciphertext`; a forged one gives another secret, not an error.

    Raises:
        ValueError: The length is wrong or the X25519 point is of low order.
    """
    if len(ciphertext) != CIPHERTEXT_SIZE:
        raise ValueError(f"an X-Wing ciphertext has {CIPHERTEXT_SIZE} bytes")
    x25519_ciphertext = ciphertext[_MLKEM_CIPHERTEXT_SIZE:]
    mlkem_secret = key.mlkem.decapsulate(ciphertext[:_MLKEM_CIPHERTEXT_SIZE])
    x25519_secret = key.x25519.exchange(X25519PublicKey.from_public_bytes(x25519_ciphertext))
    return _combine(mlkem_secret, x25519_secret, x25519_ciphertext, key.x25519_public_bytes)


def _combine(mlkem_secret: bytes, x25519_secret: bytes, ciphertext: bytes, public: bytes) -> bytes:
    """§5.3: one SHA3-256 over both secrets and what X25519 does not bind by itself."""
    return hashlib.sha3_256(mlkem_secret + x25519_secret + ciphertext + public + _LABEL).digest()
