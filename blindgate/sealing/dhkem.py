"""DHKEM(X25519, HKDF-SHA256), HPKE's KEM 0x0020 (RFC 9180 §4.1, §7.1).

The curve is `cryptography`'s. It refuses a shared secret of all zeros, which a public key of
low order would give, as §7.1.4 demands.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from blindgate.sealing import hkdf

KEM_ID: Final = 0x0020
#: Npk and Nenc: an encapsulated secret is an ephemeral public key.
PUBLIC_KEY_SIZE: Final = 32
ENCAPSULATED_SIZE: Final = PUBLIC_KEY_SIZE

_SUITE_ID: Final = b"KEM" + KEM_ID.to_bytes(2, "big")
_SECRET_SIZE: Final = 32


class DhkemPrivateKey:
    """An X25519 private key and its encoded public key.

    Args:
        encoded: 32 bytes.

    Raises:
        ValueError: The length is wrong.
    """

    def __init__(self, encoded: bytes) -> None:
        self.x25519 = X25519PrivateKey.from_private_bytes(encoded)
        self._public_bytes = self.x25519.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "DhkemPrivateKey(redacted)"

    @classmethod
    def generate(cls) -> DhkemPrivateKey:
        """A fresh one."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    def to_public_bytes(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._public_bytes


def encapsulate(
    public_key: bytes, *, ephemeral: DhkemPrivateKey | None = None
) -> tuple[bytes, bytes]:
    """Encap (§4.1): a fresh shared secret and the 32 bytes that carry it.

    Args:
        public_key: The receiver's, 32 bytes.
        ephemeral: For test vectors alone.

    Raises:
        ValueError: The public key has another length or is of low order.
    """
    ephemeral = ephemeral or DhkemPrivateKey.generate()
    shared = ephemeral.x25519.exchange(X25519PublicKey.from_public_bytes(public_key))
    encapsulated = ephemeral.to_public_bytes()
    return _extract_and_expand(shared, encapsulated + public_key), encapsulated


def decapsulate(key: DhkemPrivateKey, encapsulated: bytes) -> bytes:
    """Decap (§4.1): the shared secret (32 bytes) in `encapsulated`.

    Raises:
        ValueError: It has another length or is of low order.
    """
    shared = key.x25519.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    return _extract_and_expand(shared, encapsulated + key.to_public_bytes())


def _extract_and_expand(shared: bytes, context: bytes) -> bytes:
    prk = hkdf.labeled_extract(_SUITE_ID, b"", b"eae_prk", shared)
    info = hkdf.labeled_info(_SUITE_ID, b"shared_secret", context, _SECRET_SIZE)
    return hkdf.expand(prk, info, _SECRET_SIZE)
