"""Oblivious HTTP's encapsulation (RFC 9458 §4): sealing and opening, both sides.

Blindgate uses OHTTP for what it seals, not to hide who calls: there is no second relay between
client and enclave. The server side is what runs inside the enclave.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from blindgate.sealing import hkdf, hpke
from blindgate.sealing.errors import (
    KeyConfigError,
    OpenRejected,
    SealingError,
    UnknownKey,
)
from blindgate.sealing.suites import NONCE_SIZE, TAG_SIZE, Kem, Symmetric

if TYPE_CHECKING:
    from collections.abc import Callable

    from blindgate.sealing.dhkem import DhkemPrivateKey
    from blindgate.sealing.keys import KeyConfig, KeyPair
    from blindgate.sealing.suites import Cipher


#: Key id, KEM, KDF, AEAD: what an encapsulated request starts with (§4.3).
HEADER: Final = struct.Struct(">BHHH")
_REQUEST_LABEL: Final = b"message/bhttp request"
_RESPONSE_LABEL: Final = b"message/bhttp response"

Buffer = bytes | bytearray | memoryview


def key_id(encapsulated: Buffer) -> int:
    """The key that a request is sealed to: all that a gateway needs to route it.

    Raises:
        OpenRejected: There is no whole header.
    """
    if len(encapsulated) < HEADER.size:
        raise OpenRejected
    return memoryview(encapsulated).cast("B")[0]


@lru_cache(maxsize=256)
def _base_mode(header: bytes) -> hpke.BaseMode:
    """HPKE as the header of a request names it, once it is known to name what we speak (§4.3)."""
    _, kem, kdf, aead = HEADER.unpack(header)
    return hpke.BaseMode(Kem(kem), Symmetric(kdf, aead), _REQUEST_LABEL + b"\0" + header)


class _ResponseKeys:
    """What seals or opens the one response to a request (§4.4)."""

    __slots__ = ("_encapsulated_key", "_mode", "_nonce_size", "_secret")

    def __init__(
        self, mode: hpke.BaseMode, exporter: hpke.Exporter, encapsulated_key: bytes
    ) -> None:
        self._mode = mode
        self._nonce_size = max(mode.key_size, NONCE_SIZE)
        self._encapsulated_key = encapsulated_key
        self._secret = exporter.export(_RESPONSE_LABEL, self._nonce_size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    def _derive(self, response_nonce: bytes) -> tuple[Cipher, bytes]:
        prk = hkdf.extract(self._encapsulated_key + response_nonce, self._secret)
        key = hkdf.expand(prk, b"key", self._mode.key_size)
        return self._mode.cipher(key), hkdf.expand(prk, b"nonce", NONCE_SIZE)


class ResponseOpener(_ResponseKeys):
    """What the client keeps until the answer to one request comes."""

    __slots__ = ()

    def open(self, encapsulated: Buffer) -> bytes:
        """The Binary HTTP response inside.

        Raises:
            OpenRejected: It was not sealed for this request, or was changed.
        """
        try:
            view = memoryview(encapsulated)
            cipher, nonce = self._derive(bytes(view[: self._nonce_size]))
            return cipher.decrypt(nonce, view[self._nonce_size :], b"")
        except Exception:  # noqa: BLE001 - one and the same error, whatever it was
            raise OpenRejected from None


class ResponseSealer(_ResponseKeys):
    """What the server keeps until it answers one request."""

    __slots__ = ()

    def seal(self, message: Buffer, *, padded_to: int = 0, nonce: bytes | None = None) -> bytearray:
        """Encapsulate a Binary HTTP response (§4.4).

        Args:
            message: The Binary HTTP response.
            padded_to: Zero bytes follow it up to this length.
            nonce: For test vectors alone; fresh if left out.
        """
        nonce = os.urandom(self._nonce_size) if nonce is None else nonce
        if len(nonce) != self._nonce_size:
            raise SealingError("the response nonce has another length")
        cipher, aead_nonce = self._derive(nonce)
        start = len(nonce)
        end = start + max(len(message), padded_to)
        # In place: the padding is there already, and nothing is moved.
        sealed = bytearray(end + TAG_SIZE)
        sealed[:start] = nonce
        sealed[start : start + len(message)] = message
        with memoryview(sealed) as view:
            cipher.encrypt_into(aead_nonce, view[start:end], b"", view[start:])
        return sealed


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """What goes to the gateway, and what opens the answer that comes back."""

    encapsulated: bytes = field(repr=False)
    response: ResponseOpener


def seal_request(
    config: KeyConfig,
    message: Buffer,
    *,
    symmetric: Symmetric | None = None,
    ephemeral: DhkemPrivateKey | None = None,
) -> SealedRequest:
    """Encapsulate a Binary HTTP request (§4.3).

    Args:
        config: The key to seal to; the caller has verified that it is an enclave's.
        message: The Binary HTTP request.
        symmetric: KDF and AEAD; the best that the configuration allows if left out.
        ephemeral: For test vectors alone; X25519 only.

    Raises:
        KeyConfigError: The configuration cannot be used.
    """
    symmetric = symmetric or config.choose()
    if symmetric is None or symmetric not in config.symmetric or not symmetric.supported:
        raise KeyConfigError("the key configuration allows no algorithm that we speak")
    header = HEADER.pack(config.key_id, config.kem, symmetric.kdf, symmetric.aead)
    mode = _base_mode(header)
    try:
        enc, sealed, exporter = mode.seal(config.public_key, message, ephemeral=ephemeral)
    except ValueError as error:
        raise KeyConfigError("the public key of the configuration is not valid") from error
    return SealedRequest(b"".join((header, enc, sealed)), ResponseOpener(mode, exporter, enc))


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request that was sealed to one of our keys.

    Attributes:
        key_id: The key it was sealed to.
        encapsulated_key: HPKE's `enc`: unique for each honest request, so what tells a replay.
        message: The Binary HTTP request.
        response: What seals the answer.
    """

    key_id: int
    encapsulated_key: bytes
    message: memoryview = field(repr=False)
    response: ResponseSealer


class RequestHeader(NamedTuple):
    """What an encapsulated request says of itself in the clear, checked against our key.

    Attributes:
        pair: The key it was sealed to.
        symmetric: The algorithms it was sealed with.
        encapsulated_key: HPKE's `enc`.
    """

    pair: KeyPair
    symmetric: Symmetric
    encapsulated_key: bytes


def parse_header(encapsulated: Buffer, find_key: Callable[[int], KeyPair | None]) -> RequestHeader:
    """The key, the algorithms and the `enc` of an encapsulated request, before any decryption.

    Args:
        encapsulated: The body of a `message/ohttp-req`.
        find_key: The key pair of an id, or None.

    Raises:
        UnknownKey: We hold no key of this id and KEM.
        OpenRejected: The header is not whole or names algorithms that the key is not for.
    """
    if len(encapsulated) < HEADER.size:
        raise OpenRejected
    identifier, kem, kdf, aead = HEADER.unpack_from(encapsulated)
    pair = find_key(identifier)
    if pair is None or pair.config.kem != kem:
        raise UnknownKey(f"no key {identifier} for KEM {kem:#06x}")
    symmetric = Symmetric(kdf, aead)
    end = HEADER.size + pair.config.kem.encapsulated_size
    if symmetric not in pair.config.symmetric or len(encapsulated) < end:
        raise OpenRejected
    return RequestHeader(pair, symmetric, bytes(memoryview(encapsulated)[HEADER.size : end]))


def open_request(encapsulated: Buffer, find_key: Callable[[int], KeyPair | None]) -> OpenedRequest:
    """Open an encapsulated request (§4.3), and leave it as it is.

    Args:
        encapsulated: The body of a `message/ohttp-req`.
        find_key: The key pair of an id, or None.

    Raises:
        UnknownKey: We hold no key of this id and KEM.
        OpenRejected: Anything else, always the same.
    """
    return open_in_place(bytearray(encapsulated), parse_header(encapsulated, find_key))


def open_in_place(encapsulated: bytearray | memoryview, header: RequestHeader) -> OpenedRequest:
    """Open an encapsulated request where it lies, without memory for a second one.

    Args:
        encapsulated: The body of a `message/ohttp-req`, writable. The message takes the place of
            its ciphertext, and is a view; after an error nothing in there is of use.
        header: What `parse_header` gave for it.

    Raises:
        OpenRejected: It cannot be opened, whatever the reason.
    """
    view = memoryview(encapsulated)
    mode = _base_mode(bytes(view[: HEADER.size]))
    pair, _, enc = header
    try:
        message, exporter = mode.open(pair.private, enc, view[HEADER.size + len(enc) :])
    except Exception:  # noqa: BLE001 - one and the same error, whatever it was
        raise OpenRejected from None
    return OpenedRequest(pair.config.key_id, enc, message, ResponseSealer(mode, exporter, enc))
