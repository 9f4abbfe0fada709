"""Key configurations and `application/ohttp-keys` (RFC 9458 §3).

The list that an enclave publishes holds one configuration for each KEM, the preferred first.
Its SHA-256 is in the enclave's attestation document: that is what makes the keys trustworthy,
the channel they come over does not matter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from blindgate.sealing.errors import BinaryHttpError, KeyConfigError
from blindgate.sealing.suites import SYMMETRIC, Kem, Symmetric
from blindgate.sealing.varint import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blindgate.sealing.suites import PrivateKey


#: A list of our own has two configurations and 1.3 kB; 64 kB is room for whatever comes.
MAX_BODY: Final = 64 * 1024
MAX_CONFIGS: Final = 16


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """One public key and what it may be used with (RFC 9458 §3.1).

    Attributes:
        key_id: 0 to 255; the first byte of every request that is sealed to this key.
        kem: The KEM that the key is for.
        public_key: As the KEM encodes it.
        symmetric: Pairs of KDF and AEAD, the preferred first.
    """

    key_id: int
    kem: Kem
    public_key: bytes
    symmetric: tuple[Symmetric, ...] = SYMMETRIC

    def encode(self) -> bytes:
        """The configuration without the length that a list puts before it."""
        pairs = b"".join(struct.pack(">HH", pair.kdf, pair.aead) for pair in self.symmetric)
        head = struct.pack(">BH", self.key_id, self.kem)
        return head + self.public_key + struct.pack(">H", len(pairs)) + pairs

    def choose(self) -> Symmetric | None:
        """The first pair of ours that the key may be used with."""
        return next((pair for pair in SYMMETRIC if pair in self.symmetric), None)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key configuration and its private key. The private key never shows."""

    config: KeyConfig
    private: PrivateKey = field(repr=False)

    @classmethod
    def from_seed(cls, key_id: int, kem: Kem, seed: bytes) -> KeyPair:
        """The pair that 32 uniform bytes stand for.

        Raises:
            ValueError: There are not 32 bytes, or the key id is not one byte.
        """
        if not 0 <= key_id <= 255:
            raise ValueError("a key id is one byte")
        private = kem.private_key(seed)
        return cls(KeyConfig(key_id, kem, kem.public_bytes(private)), private)


def encode_list(configs: Iterable[KeyConfig]) -> bytes:
    """The body of `application/ohttp-keys`: each configuration after its 16-bit length (§3.2)."""
    encoded = [config.encode() for config in configs]
    return b"".join(struct.pack(">H", len(config)) + config for config in encoded)


def decode_list(body: bytes | bytearray | memoryview) -> tuple[KeyConfig, ...]:
    """Read the body of `application/ohttp-keys`.

    Configurations for a KEM that we do not speak are left out, as §3.2 wants; so are unknown
    pairs of KDF and AEAD.

    Raises:
        KeyConfigError: The list is malformed, too large, names a key id twice, or holds nothing
            that we can use.
    """
    if len(body) > MAX_BODY:
        raise KeyConfigError(f"the list of keys is over {MAX_BODY} bytes")
    try:
        configs = tuple(_read_list(Reader(body)))
    except BinaryHttpError as error:
        raise KeyConfigError("the list of keys ends too early") from error
    if not configs:
        raise KeyConfigError("the list holds no key that this implementation can use")
    return configs


def choose(configs: Iterable[KeyConfig]) -> KeyConfig:
    """The configuration to seal to: X-Wing if there is one, else X25519.

    Raises:
        KeyConfigError: None of them is usable.
    """
    usable = [config for config in configs if config.choose() is not None]
    for kem in Kem:
        for config in usable:
            if config.kem is kem:
                return config
    raise KeyConfigError("no key configuration is usable")


def _read_list(reader: Reader) -> Iterable[KeyConfig]:
    seen: set[int] = set()
    count = 0
    while reader.left:
        count += 1
        if count > MAX_CONFIGS:
            raise KeyConfigError("the list holds too many key configurations")
        length = int.from_bytes(reader.take(2, limit=2), "big")
        key_id, config = _read_config(Reader(reader.take(length, limit=MAX_BODY)))
        if key_id in seen:
            raise KeyConfigError("two key configurations have the same key id")
        seen.add(key_id)
        if config is not None:
            yield config


def _read_config(reader: Reader) -> tuple[int, KeyConfig | None]:
    key_id, kem_id = struct.unpack(">BH", reader.take(3, limit=3))
    try:
        kem = Kem(kem_id)
    except ValueError:
        return key_id, None
    public_key = bytes(reader.take(kem.public_key_size, limit=MAX_BODY))
    length = int.from_bytes(reader.take(2, limit=2), "big")
    if length < 4 or length % 4 or length != reader.left:
        raise KeyConfigError("the symmetric algorithms of a key configuration are malformed")
    pairs = struct.iter_unpack(">HH", reader.rest())
    symmetric = tuple(pair for pair in (Symmetric(*ids) for ids in pairs) if pair.supported)
    return key_id, KeyConfig(key_id, kem, public_key, symmetric) if symmetric else None
