"""Opening the body of an AWS Encryption SDK message where it lies.

Specification: awslabs/aws-encryption-sdk-specification, `data-format/message-body.md`,
`data-format/message-body-aad.md` and `client-apis/decrypt.md`; the names in quotation marks are
their sections.

A body is a series of frames, each encrypted with AES-GCM under the same key:

    regular frame  number (4) ‖ IV (12) ‖ content (frame length) ‖ tag (16)
    final frame    FFFFFFFF ‖ number (4) ‖ IV (12) ‖ length (4) ‖ content ‖ tag (16)
    no frames      IV (12) ‖ length (8) ‖ content ‖ tag (16)

Writers use the frame's number as IV. The IV of the message is what is decrypted with, as in the
libraries and in AWS's test vectors, some of which have another.

`parse_body` checks all of that structure without a key, so that KMS is not asked about a message
that can never be opened. `open_body` then needs the data key.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blindgate.envelope.algorithm_suites import IV_BYTES, TAG_BYTES, derive_keys
from blindgate.envelope.message_errors import MalformedMessage, MessageNotAuthentic
from blindgate.envelope.message_footer import parse_footer, verify_signature
from blindgate.envelope.message_header import REGULAR_FRAME_OVERHEAD, ContentType

if TYPE_CHECKING:
    from blindgate.envelope.message_header import Buffer, Header

#: Number, IV.
_REGULAR: Final = struct.Struct(f">I{IV_BYTES}x")
#: "Sequence Number End", number, IV, length.
_FINAL: Final = struct.Struct(f">4xI{IV_BYTES}xI")
#: Where the IV of a final frame begins.
_FINAL_IV: Final = 8
#: IV, length.
_NON_FRAMED: Final = struct.Struct(f">{IV_BYTES}xQ")
_SEQUENCE_NUMBER_END: Final = 0xFFFF_FFFF
#: "Body AAD Content".
_REGULAR_AAD: Final = b"AWSKMSEncryptionClient Frame"
_FINAL_AAD: Final = b"AWSKMSEncryptionClient Final Frame"
_NON_FRAMED_AAD: Final = b"AWSKMSEncryptionClient Single Block"
#: What follows it: "Sequence Number" and "Content Length".
_AAD_END: Final = struct.Struct(">IQ")
_NUMBER: Final = struct.Struct(">I")
#: "Verify the header": the IV of the header's tag, in version 2.
_HEADER_IV: Final = bytes(IV_BYTES)


@dataclass(frozen=True, slots=True)
class Body:
    """Where the parts of a body are.

    Attributes:
        start: Offset of the body in the message.
        regular_frames: How many there are before the last part.
        last_iv: Offset of the IV of the last part: the final frame, or all of a body without
            frames.
        last: Offset of its content.
        last_length: Bytes of that content.
        end: Offset of what follows the body.
        signature: DER; empty if the suite does not sign.
    """

    start: int
    regular_frames: int
    last_iv: int
    last: int
    last_length: int
    end: int
    signature: bytes = field(repr=False)


def parse_body(message: Buffer, header: Header) -> Body:
    """Check the structure of everything that follows the header; nothing is decrypted.

    Args:
        message: The whole message; it is not changed.
        header: Its header.

    Raises:
        MalformedMessage: A part is cut short, missing, out of order or too long, or bytes follow
            the end.
    """
    view = memoryview(message)
    try:
        regular_frames, last_iv, last, length = (
            _find_final_frame(view, header)
            if header.content_type is ContentType.FRAMED
            else _find_single_block(view, header)
        )
    except struct.error:
        raise MalformedMessage("the message ends inside its body") from None
    end = last + length + TAG_BYTES
    if end > len(view):
        raise MalformedMessage("the message ends inside its body")
    if header.suite.signs:
        signature = parse_footer(view[end:])
    elif end == len(view):
        signature = b""
    else:
        raise MalformedMessage("bytes follow the message")
    return Body(header.size, regular_frames, last_iv, last, length, end, signature)


def _find_final_frame(view: memoryview, header: Header) -> tuple[int, int, int, int]:
    """Section "Framed Data": the regular frames' count; the final frame's IV, content and length.

    `parse_header` has bounded how many frames there can be.
    """
    stride = header.frame_length + REGULAR_FRAME_OVERHEAD
    unpack = _REGULAR.unpack_from
    number = 1
    for at in range(header.size, len(view) - _REGULAR.size + 1, stride):
        (sequence,) = unpack(view, at)
        if sequence == _SEQUENCE_NUMBER_END:
            break
        if sequence != number:
            raise MalformedMessage("the frames are not numbered one after the other")
        number += 1
    else:
        raise MalformedMessage("the message has no final frame")
    sequence, length = _FINAL.unpack_from(view, at)
    if sequence != number:
        raise MalformedMessage("the final frame has another number")
    if length > header.frame_length:
        raise MalformedMessage("the final frame is longer than the others")
    return number - 1, at + _FINAL_IV, at + _FINAL.size, length


def _find_single_block(view: memoryview, header: Header) -> tuple[int, int, int, int]:
    """Section "Non-Framed Data": no regular frame; IV, content and its length."""
    (length,) = _NON_FRAMED.unpack_from(view, header.size)
    return 0, header.size, header.size + _NON_FRAMED.size, length


def open_body(message: memoryview, header: Header, body: Body, data_key: bytes) -> memoryview:
    """Authenticate a message and decrypt it in its own memory.

    The steps of `client-apis/decrypt.md` in their order: key commitment, header, every frame,
    signature. Nothing is returned before all of them succeed.

    Args:
        message: The whole message, writable: the content takes its place. What is in it after an
            error is of no use to anybody, and must not be released.
        header: What `parse_header` read from these bytes.
        body: What `parse_body` read from them.
        data_key: One of the header's data keys, unwrapped.

    Returns:
        A view of the content, somewhere in `message`.

    Raises:
        MessageNotAuthentic: The data key is of another message, or a byte was changed.
        ValueError: The memory is not writable.
    """
    if message.readonly:
        raise ValueError("a message is opened in memory that can be written to")
    keys = derive_keys(header.suite, data_key, header.message_id)
    if not hmac.compare_digest(keys.commitment, header.commitment):
        raise MessageNotAuthentic("the message commits to another data key")
    cipher = AESGCM(keys.encryption)
    # Of the ciphertext, so before it is decrypted.
    digest = hashlib.sha384(message[: body.end]).digest() if header.verification_key else b""
    try:
        # "Verify the header": no content, only a tag.
        cipher.decrypt(_HEADER_IV, header.tag, header.authenticated)
        content = _decrypt(message, header, body, cipher)
    except InvalidTag:
        raise MessageNotAuthentic("an authentication tag does not match") from None
    if header.verification_key is not None:
        verify_signature(header.verification_key, body.signature, digest)
    return content


def _decrypt(message: memoryview, header: Header, body: Body, cipher: AESGCM) -> memoryview:
    """Decrypt every frame where it lies and move its content up to that of the one before.

    The loop is what small frames cost: of 4 KiB there are 244 to the megabyte.
    """
    length = header.frame_length
    decrypt, pack_number = cipher.decrypt_into, _NUMBER.pack_into
    aad = bytearray(header.message_id + _REGULAR_AAD + _AAD_END.pack(0, length))
    number_at = len(aad) - _AAD_END.size
    start = filled = body.start + _REGULAR.size if body.regular_frames else body.last
    at = start
    for number in range(1, body.regular_frames + 1):
        pack_number(aad, number_at, number)
        end = at + length
        content = message[at:end]
        decrypt(message[at - IV_BYTES : at], message[at : end + TAG_BYTES], aad, content)
        if at != filled:
            message[filled : filled + length] = content
        filled += length
        at += length + REGULAR_FRAME_OVERHEAD
    label, number = (
        (_FINAL_AAD, body.regular_frames + 1)
        if header.content_type is ContentType.FRAMED
        else (_NON_FRAMED_AAD, 1)
    )
    end = body.last + body.last_length
    content = message[body.last : end]
    decrypt(
        message[body.last_iv : body.last_iv + IV_BYTES],
        message[body.last : end + TAG_BYTES],
        header.message_id + label + _AAD_END.pack(number, body.last_length),
        content,
    )
    if body.last != filled:
        message[filled : filled + body.last_length] = content
    return message[start : filled + body.last_length]
