"""Oblivious HTTP's encapsulation (RFC 9458 §4): sealing and opening, both sides.

Blindgate uses OHTTP for what it seals, not to hide who calls: there is no second relay between
client and enclave. The server side is what runs inside the enclave.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyhpke import PyHPKEError

from blindgate.sealing.errors import (
    KeyConfigError,
    OpenRejected,
    SealingError,
    UnknownKey,
)
from blindgate.sealing.suites import Kem, Symmetric, cipher_suite

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyhpke import CipherSuite, ContextInterface, KEMKeyPair

    from blindgate.sealing.keys import KeyConfig, KeyPair

REQUEST_TYPE: Final = "message/ohttp-req"
RESPONSE_TYPE: Final = "message/ohttp-res"

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


@dataclass(frozen=True, slots=True)
class _ResponseKeys:
    """What seals or opens the one response to a request (§4.4)."""

    suite: CipherSuite
    encapsulated_key: bytes
    secret: bytes = field(repr=False)

    @property
    def nonce_size(self) -> int:
        return max(self.suite.aead.key_size, self.suite.aead.nonce_size)

    def seal(self, message: Buffer, nonce: bytes) -> bytes:
        key, aead_nonce = self._derive(nonce)
        return nonce + self.suite.aead.import_key(key).seal(message, aead_nonce)  # type: ignore[arg-type]

    def open(self, encapsulated: Buffer) -> bytes:
        view = memoryview(encapsulated)
        nonce, sealed = bytes(view[: self.nonce_size]), view[self.nonce_size :]
        key, aead_nonce = self._derive(nonce)
        return self.suite.aead.import_key(key).open(sealed, aead_nonce)  # type: ignore[arg-type]

    def _derive(self, nonce: bytes) -> tuple[bytes, bytes]:
        kdf, aead = self.suite.kdf, self.suite.aead
        prk = kdf.extract(self.encapsulated_key + nonce, self.secret)
        return kdf.expand(prk, b"key", aead.key_size), kdf.expand(prk, b"nonce", aead.nonce_size)


def _response_keys(suite: CipherSuite, context: ContextInterface, enc: bytes) -> _ResponseKeys:
    length = max(suite.aead.key_size, suite.aead.nonce_size)
    return _ResponseKeys(suite, enc, context.export(_RESPONSE_LABEL, length))


@dataclass(frozen=True, slots=True)
class ResponseOpener:
    """What the client keeps until the answer to one request comes."""

    _keys: _ResponseKeys = field(repr=False)

    def open(self, encapsulated: Buffer) -> bytes:
        """The Binary HTTP response inside.

        Raises:
            OpenRejected: It was not sealed for this request, or was changed.
        """
        if len(encapsulated) < self._keys.nonce_size + self._keys.suite.aead.tag_size:
            raise OpenRejected
        try:
            return self._keys.open(encapsulated)
        except Exception:  # noqa: BLE001 - one and the same error, whatever it was
            raise OpenRejected from None


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
    ephemeral: KEMKeyPair | None = None,
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
    suite = cipher_suite(config.kem, symmetric)
    header = HEADER.pack(config.key_id, config.kem, symmetric.kdf, symmetric.aead)
    try:
        public = suite.kem.deserialize_public_key(config.public_key)
        enc, context = suite.create_sender_context(
            public, _REQUEST_LABEL + b"\0" + header, eks=ephemeral
        )
    except (ValueError, PyHPKEError) as error:
        raise KeyConfigError("the public key of the configuration is not valid") from error
    sealed = context.seal(message)  # type: ignore[arg-type]
    return SealedRequest(
        b"".join((header, enc, sealed)), ResponseOpener(_response_keys(suite, context, enc))
    )


@dataclass(frozen=True, slots=True)
class ResponseSealer:
    """What the server keeps until it answers one request."""

    _keys: _ResponseKeys = field(repr=False)

    def seal(self, message: Buffer, *, nonce: bytes | None = None) -> bytes:
        """Encapsulate a Binary HTTP response (§4.4).

        Args:
            message: The Binary HTTP response, padded.
            nonce: For test vectors alone; fresh if left out.
        """
        nonce = os.urandom(self._keys.nonce_size) if nonce is None else nonce
        if len(nonce) != self._keys.nonce_size:
            raise SealingError("the response nonce has another length")
        return self._keys.seal(message, nonce)


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
    message: bytes = field(repr=False)
    response: ResponseSealer


def parse_header(
    encapsulated: Buffer, find_key: Callable[[int], KeyPair | None]
) -> tuple[KeyPair, Symmetric, bytes]:
    """The key, the algorithms and the `enc` of an encapsulated request, before any decryption.

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
    return pair, symmetric, bytes(memoryview(encapsulated)[HEADER.size : end])


def open_request(encapsulated: Buffer, find_key: Callable[[int], KeyPair | None]) -> OpenedRequest:
    """Open an encapsulated request (§4.3).

    Args:
        encapsulated: The body of a `message/ohttp-req`; it is not copied before decryption.
        find_key: The key pair of an id, or None.

    Raises:
        UnknownKey: We hold no key of this id and KEM.
        OpenRejected: Anything else, always the same.
    """
    pair, symmetric, enc = parse_header(encapsulated, find_key)
    suite = cipher_suite(Kem(pair.config.kem), symmetric)
    header = bytes(memoryview(encapsulated)[: HEADER.size])
    sealed = memoryview(encapsulated)[HEADER.size + len(enc) :]
    try:
        context = suite.create_recipient_context(enc, pair.private, _REQUEST_LABEL + b"\0" + header)
        message = context.open(sealed)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - one and the same error, whatever it was
        raise OpenRejected from None
    return OpenedRequest(
        pair.config.key_id, enc, message, ResponseSealer(_response_keys(suite, context, enc))
    )
