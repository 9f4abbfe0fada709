"""HPKE in base mode for one message (RFC 9180), and secrets exported beside it.

The KEMs are `dhkem` and `xwing`, the ciphers `cryptography`'s; here is the key schedule. An
OHTTP exchange seals exactly one message with a key, at sequence number 0, where the nonce is
the base nonce itself (§5.2). So there is no context that could seal twice: `seal` and `open`
are single-shot, as in §6.1, and hand out what exports (§5.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from blindgate.sealing import dhkem, hkdf, xwing
from blindgate.sealing.suites import NONCE_SIZE, TAG_SIZE, Aead, Kem, Symmetric

if TYPE_CHECKING:
    from blindgate.sealing.suites import Cipher, PrivateKey

_MODE_BASE: Final = b"\x00"

Buffer = bytes | bytearray | memoryview


class Exporter:
    """Derives secrets that both sides of one message know (§5.3)."""

    __slots__ = ("_secret", "_suite_id")

    def __init__(self, suite_id: bytes, secret: bytes) -> None:
        self._suite_id = suite_id
        self._secret = secret

    def __repr__(self) -> str:
        return "Exporter(redacted)"

    def export(self, context: bytes, length: int) -> bytes:
        """Context.Export.

        Raises:
            ValueError: More than 32 bytes are asked for.
        """
        info = hkdf.labeled_info(self._suite_id, b"sec", context, length)
        return hkdf.expand(self._secret, info, length)


class BaseMode:
    """One suite and one `info`; what does not depend on the message is worked out once.

    Stateless, so one object serves everybody.

    Args:
        kem: The KEM.
        symmetric: KDF and AEAD.
        info: What both sides know of the use (§5.1).

    Raises:
        ValueError: The symmetric pair is not supported.
    """

    def __init__(self, kem: Kem, symmetric: Symmetric, info: bytes) -> None:
        if not symmetric.supported:
            raise ValueError("this pair of KDF and AEAD is not supported")
        aead = Aead(symmetric.aead)
        self.kem: Final = kem
        self.key_size: Final = aead.key_size
        self.cipher: Final[type[Cipher]] = aead.cipher
        self._suite_id = b"HPKE" + b"".join(
            number.to_bytes(2, "big") for number in (kem, *symmetric)
        )
        # KeySchedule (§5.1) up to where the shared secret comes in.
        context = (
            _MODE_BASE
            + hkdf.labeled_extract(self._suite_id, b"", b"psk_id_hash", b"")
            + hkdf.labeled_extract(self._suite_id, b"", b"info_hash", info)
        )
        self._key_info = hkdf.labeled_info(self._suite_id, b"key", context, self.key_size)
        self._nonce_info = hkdf.labeled_info(self._suite_id, b"base_nonce", context, NONCE_SIZE)
        self._exporter_info = hkdf.labeled_info(self._suite_id, b"exp", context, hkdf.HASH_SIZE)

    def __repr__(self) -> str:
        return f"BaseMode({self.kem.name}, {self.cipher.__name__}, {8 * self.key_size} bits)"

    def seal(
        self,
        public_key: bytes,
        message: Buffer,
        *,
        aad: bytes = b"",
        ephemeral: dhkem.DhkemPrivateKey | None = None,
    ) -> tuple[bytes, bytes, Exporter]:
        """SetupBaseS (§5.1.1), then ContextS.Seal (§5.2).

        Args:
            public_key: The receiver's, as the KEM encodes it.
            message: The plaintext.
            aad: What is authenticated beside it.
            ephemeral: For test vectors alone; X25519 only.

        Returns:
            The encapsulated secret, the ciphertext, and what exports.

        Raises:
            ValueError: The public key is not valid.
        """
        if self.kem is Kem.X25519:
            secret, encapsulated = dhkem.encapsulate(public_key, ephemeral=ephemeral)
        elif ephemeral is None:
            secret, encapsulated = xwing.encapsulate(xwing.XWingPublicKey(public_key))
        else:
            raise ValueError("X-Wing draws its own randomness")
        cipher, nonce, exporter = self._key_schedule(secret)
        return encapsulated, cipher.encrypt(nonce, message, aad), exporter

    def open(
        self, key: PrivateKey, encapsulated: bytes, ciphertext: memoryview, *, aad: bytes = b""
    ) -> tuple[memoryview, Exporter]:
        """SetupBaseR (§5.1.1), then ContextR.Open (§5.2), in place.

        It takes no memory, and not the interpreter's lock for the time that it takes.

        Args:
            key: The receiver's.
            encapsulated: The encapsulated secret.
            ciphertext: Writable: the plaintext takes its place. What is in it after an error is
                of no use to anybody.
            aad: What was authenticated beside it.

        Returns:
            A view of the plaintext, and what exports.

        Raises:
            ValueError: The encapsulated secret is not valid, or the key is for another KEM.
            cryptography.exceptions.InvalidTag: The ciphertext is for somebody else or changed.
        """
        cipher, nonce, exporter = self._key_schedule(self._decapsulate(key, encapsulated))
        if len(ciphertext) < TAG_SIZE:
            raise InvalidTag
        plaintext = ciphertext[: len(ciphertext) - TAG_SIZE]
        cipher.decrypt_into(nonce, ciphertext, aad, plaintext)
        return plaintext, exporter

    def _decapsulate(self, key: PrivateKey, encapsulated: bytes) -> bytes:
        if self.kem is Kem.XWING and isinstance(key, xwing.XWingPrivateKey):
            return xwing.decapsulate(key, encapsulated)
        if self.kem is Kem.X25519 and isinstance(key, dhkem.DhkemPrivateKey):
            return dhkem.decapsulate(key, encapsulated)
        raise ValueError("the private key is for another KEM")

    def _key_schedule(self, shared_secret: bytes) -> tuple[Cipher, bytes, Exporter]:
        """KeySchedule (§5.1) without a PSK: the cipher, the nonce of message 0, the exporter."""
        secret = hkdf.labeled_extract(self._suite_id, shared_secret, b"secret", b"")
        return (
            self.cipher(hkdf.expand(secret, self._key_info, self.key_size)),
            hkdf.expand(secret, self._nonce_info, NONCE_SIZE),
            Exporter(self._suite_id, hkdf.expand(secret, self._exporter_info, hkdf.HASH_SIZE)),
        )
