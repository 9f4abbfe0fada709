"""X-Wing, the hybrid KEM of ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem-10).

It stays safe as long as one of the two does: a recorded request cannot be opened later by
whoever then has a quantum computer. HPKE lists it as KEM 0x647a. The lattice and the curve are
`cryptography`'s; only the combination is here, as a KEM that plugs into pyhpke.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import KEMId, KEMInterface, KEMKeyInterface, KEMKeyPair

KEM_ID: Final = 0x647A
SEED_SIZE: Final = 32
PUBLIC_KEY_SIZE: Final = 1216
CIPHERTEXT_SIZE: Final = 1120

_MLKEM_PUBLIC_KEY_SIZE: Final = 1184
_MLKEM_CIPHERTEXT_SIZE: Final = 1088
#: The six bytes of ASCII art that separate this combiner from others (§5.3).
_LABEL: Final = rb"\./" + rb"/^" + b"\\"


class _Id(enum.Enum):
    """pyhpke names KEMs by an enumeration that does not know this one; it reads `.value`."""

    XWING = KEM_ID


class XWingPublicKey(KEMKeyInterface):
    """An encapsulation key: ML-KEM-768's, then X25519's.

    Args:
        encoded: 1216 bytes.

    Raises:
        ValueError: The length is wrong or ML-KEM's part is not reduced (FIPS 203 §7.2).
    """

    def __init__(self, encoded: bytes) -> None:
        if len(encoded) != PUBLIC_KEY_SIZE:
            raise ValueError(f"an X-Wing public key has {PUBLIC_KEY_SIZE} bytes")
        super().__init__(encoded)
        self.mlkem = MLKEM768PublicKey.from_public_bytes(encoded[:_MLKEM_PUBLIC_KEY_SIZE])
        self.x25519_bytes = encoded[_MLKEM_PUBLIC_KEY_SIZE:]
        self.x25519 = X25519PublicKey.from_public_bytes(self.x25519_bytes)

    def to_public_bytes(self) -> bytes:
        """The 1216 bytes."""
        encoded: bytes = self.raw
        return encoded


class XWingPrivateKey(KEMKeyInterface):
    """A decapsulation key, expanded from its seed (§5.2).

    Args:
        seed: 32 uniform bytes.

    Raises:
        ValueError: The seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"an X-Wing private key is a seed of {SEED_SIZE} bytes")
        super().__init__(None)
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


class XWing(KEMInterface):
    """X-Wing in the shape that pyhpke's cipher suites take."""

    @property
    def id(self) -> KEMId:
        """KEM 0x647a; pyhpke only reads its `.value`."""
        return _Id.XWING  # type: ignore[return-value]

    def deserialize_private_key(self, key: bytes) -> KEMKeyInterface:
        """The private key of a 32-byte seed."""
        return XWingPrivateKey(key)

    def deserialize_public_key(self, key: bytes) -> KEMKeyInterface:
        """The public key of its 1216 bytes."""
        return XWingPublicKey(key)

    def encap(
        self,
        pkr: KEMKeyInterface,
        sks: KEMKeyInterface | None = None,
        eks: KEMKeyPair | None = None,
    ) -> tuple[bytes, bytes]:
        """A fresh secret for `pkr`; X-Wing has no authenticated mode and no chosen ephemeral."""
        if sks is not None or eks is not None or not isinstance(pkr, XWingPublicKey):
            raise ValueError("X-Wing encapsulates to an X-Wing public key and takes nothing else")
        return encapsulate(pkr)

    def decap(self, enc: bytes, skr: KEMKeyInterface, pks: KEMKeyInterface | None = None) -> bytes:
        """The secret in `enc`."""
        if pks is not None or not isinstance(skr, XWingPrivateKey):
            raise ValueError("X-Wing decapsulates with an X-Wing private key and nothing else")
        return decapsulate(skr, enc)

    def derive_key_pair(self, ikm: bytes) -> KEMKeyPair:
        """The pair whose seed is SHAKE-256 of `ikm` (§5.7)."""
        private = XWingPrivateKey(hashlib.shake_256(ikm).digest(SEED_SIZE))
        return KEMKeyPair(private, private.public_key())
