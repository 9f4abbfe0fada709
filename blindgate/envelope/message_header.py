"""Reading the header of an AWS Encryption SDK message, version 2.

Specification: awslabs/aws-encryption-sdk-specification, `data-format/message-header.md`; the names
in quotation marks are its sections.

    version (1) ‖ suite (2) ‖ message id (32) ‖ AAD ‖ encrypted data keys ‖ content type (1)
    ‖ frame length (4) ‖ key commitment (32) ‖ authentication tag (16)

What `parse_header` returns is not authenticated yet: that needs the data key, which the header
itself says how to obtain. `message_body.open_body` verifies all of it before it decrypts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from blindgate.envelope.algorithm_suites import (
    COMMITMENT_BYTES,
    IV_BYTES,
    MESSAGE_ID_BYTES,
    TAG_BYTES,
    Suite,
)
from blindgate.envelope.message_errors import (
    MalformedMessage,
    MessageOverLimit,
    UnsupportedMessage,
)
from blindgate.envelope.message_footer import VERIFICATION_KEY_NAME, parse_verification_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

#: The largest message: its offsets and lengths stay far below what any part of it counts in.
MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
#: Names and values of the encryption context together: what KMS takes at most (API reference of
#: Decrypt). The format allows 64 KiB.
MAX_CONTEXT_BYTES: Final = 8192
#: A message's data key, wrapped once for each of its readers: more than a message for some parties
#: and their archives has, few enough that a header stays small. The format allows 65,535.
MAX_DATA_KEYS: Final = 8
#: Twice the frames of the largest default body (32 MiB) in the default frames (4 KiB). Each costs
#: some microseconds whatever its length, so this many take less than a tenth of a second.
MAX_FRAMES: Final = 16_384

#: Sequence number (4), IV and tag: what a regular frame has besides its content
#: (`data-format/message-body.md`, "Regular Frame").
REGULAR_FRAME_OVERHEAD: Final = 4 + IV_BYTES + TAG_BYTES

_VERSION: Final = 2

Buffer = bytes | bytearray | memoryview


class ContentType(IntEnum):
    """How the body is divided ("Supported Content Types")."""

    NON_FRAMED = 1
    FRAMED = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader takes before it refuses.

    Attributes:
        message: Bytes of the whole message, and of one frame.
        context: Bytes of the names and values of the encryption context.
        data_keys: Encrypted data keys.
        frames: Regular frames that would fit into what follows the header.
    """

    message: int = MAX_MESSAGE_BYTES
    context: int = MAX_CONTEXT_BYTES
    data_keys: int = MAX_DATA_KEYS
    frames: int = MAX_FRAMES


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """The data key of the message under one wrapping key ("Encrypted Data Key Entries").

    Attributes:
        provider_id: Who wrapped it; `aws-kms` for a KMS key.
        provider_info: Which key wrapped it; for `aws-kms` the ARN.
        ciphertext: The wrapped key; for `aws-kms` the CiphertextBlob.
    """

    provider_id: str
    provider_info: bytes
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one message; nothing in it is authenticated yet.

    Attributes:
        suite: The algorithm suite.
        message_id: Random; the salt of the key derivation.
        context: The encryption context.
        data_keys: One or more encrypted forms of the same data key, in the order of the message.
        content_type: Whether the body has frames.
        frame_length: Content bytes of a regular frame; 0 for a body without frames.
        commitment: The key commitment ("Algorithm Suite Data").
        authenticated: The header body, which the tag authenticates.
        tag: The authentication tag.
        verification_key: Verifies the signature; there exactly if the suite signs.
    """

    suite: Suite
    message_id: bytes
    context: Mapping[str, str]
    data_keys: tuple[EncryptedDataKey, ...]
    content_type: ContentType
    frame_length: int
    commitment: bytes
    authenticated: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    verification_key: EllipticCurvePublicKey | None

    @property
    def size(self) -> int:
        """Bytes of the header: where the body begins."""
        return len(self.authenticated) + len(self.tag)


def parse_header(message: Buffer, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the header of a message.

    The specification has the entries of the context sorted. Readers do not demand it, since
    libraries have sorted them differently, and neither does this one: KMS takes a mapping, and
    the tag authenticates the bytes as they are.

    Args:
        message: The whole message; it is not changed.
        limits: What to refuse.

    Raises:
        UnsupportedMessage: It is not a message of version 2 with one of the two suites.
        MalformedMessage: The header is cut short or breaks a rule of the format.
        MessageOverLimit: It is over a limit.
    """
    if len(message) > limits.message:
        raise MessageOverLimit("the message is too long")
    reader = _Reader(message)
    if reader.number(1) != _VERSION:
        raise UnsupportedMessage("the message is not of version 2")
    suite = _suite(reader.number(2))
    message_id = bytes(reader.take(MESSAGE_ID_BYTES))
    context = _read_context(_Reader(reader.take(reader.number(2))), limits.context)
    data_keys = _read_data_keys(reader, limits.data_keys)
    content_type = _content_type(reader.number(1))
    frame_length = reader.number(4)
    commitment = bytes(reader.take(COMMITMENT_BYTES))
    authenticated = bytes(message[: reader.at])
    tag = bytes(reader.take(TAG_BYTES))
    _check_frame_length(content_type, frame_length, reader.left, limits)
    return Header(
        suite,
        message_id,
        MappingProxyType(context),
        data_keys,
        content_type,
        frame_length,
        commitment,
        authenticated,
        tag,
        parse_verification_key(suite, context.get(VERIFICATION_KEY_NAME)),
    )


class _Reader:
    """Walks over a part of a message; every read is checked against its end."""

    __slots__ = ("_view", "at")

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data)
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._view) - self.at

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if end > len(self._view):
            raise MalformedMessage("the message ends inside its header")
        part, self.at = self._view[self.at : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """A length of two bytes, then so many bytes of UTF-8."""
        try:
            return str(self.take(self.number(2)), "utf-8")
        except UnicodeDecodeError:
            raise MalformedMessage("a text of the header is not UTF-8") from None


def _suite(number: int) -> Suite:
    try:
        return Suite(number)
    except ValueError:
        raise UnsupportedMessage("the algorithm suite is not one with key commitment") from None


def _content_type(number: int) -> ContentType:
    try:
        return ContentType(number)
    except ValueError:
        raise UnsupportedMessage("there is no such content type") from None


def _read_context(field: _Reader, limit: int) -> dict[str, str]:
    """Sections "AAD" and, in `framework/structures.md`, "Serialization"."""
    context: dict[str, str] = {}
    if not field.left:
        return context
    count = field.number(2)
    if not count:
        raise MalformedMessage("an empty encryption context is written without a count")
    # Two lengths of two bytes come with each pair; the rest is names and values.
    if field.left - 4 * count > limit:
        raise MessageOverLimit("the encryption context is too long")
    for _ in range(count):
        name = field.text()
        if name in context:
            raise MalformedMessage("the encryption context has a name twice")
        context[name] = field.text()
    if field.left:
        raise MalformedMessage("bytes follow the encryption context")
    return context


def _read_data_keys(reader: _Reader, limit: int) -> tuple[EncryptedDataKey, ...]:
    """Section "Encrypted Data Keys"."""
    count = reader.number(2)
    if not count:
        raise MalformedMessage("the message has no encrypted data key")
    if count > limit:
        raise MessageOverLimit("the message has too many encrypted data keys")
    return tuple(
        EncryptedDataKey(
            reader.text(),
            bytes(reader.take(reader.number(2))),
            bytes(reader.take(reader.number(2))),
        )
        for _ in range(count)
    )


def _check_frame_length(content_type: ContentType, length: int, left: int, limits: Limits) -> None:
    """Section "Frame Length"; also bounds how many frames of that length could follow."""
    if content_type is ContentType.NON_FRAMED:
        if length:
            raise MalformedMessage("a body without frames has a frame length")
        return
    if not length:
        raise MalformedMessage("the frames have no length")
    if length > limits.message:
        raise MessageOverLimit("the frames are too long")
    if left // (length + REGULAR_FRAME_OVERHEAD) > limits.frames:
        raise MessageOverLimit("the message has too many frames")
