"""Telling by its first bytes what an upload is."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from blindgate.envelope.sample_file import LENGTH_BYTES, MAX_BLOB_BYTES

#: Version 2 of the message format, then the two algorithm suites with key commitment (AWS
#: Encryption SDK, algorithms reference): without and with a signature. Version 1 messages commit
#: to no key and so are no envelopes of ours.
_COMMITTING: Final = frozenset({b"\x02\x04\x78", b"\x02\x05\x78"})
#: Base64 of a Fernet version byte and a 64-bit time before the year 2106.
_FERNET: Final = b"gAAAAA"


class EnvelopeKind(StrEnum):
    """The formats that are opened; the values are those of `blindgate encrypt --format`."""

    ENCRYPTION_SDK = "encryption-sdk"
    SAMPLE_FILE = "sample"


def recognise(data: bytes | bytearray | memoryview) -> EnvelopeKind | None:
    """Say which format this is, looking at no more than its first 6154 bytes.

    Nothing is promised about the rest: it may be cut short or changed.

    Returns:
        The format, or None if it is none of them.
    """
    if bytes(data[:3]) in _COMMITTING:
        return EnvelopeKind.ENCRYPTION_SDK
    length = int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < LENGTH_BYTES or not 1 <= length <= MAX_BLOB_BYTES:
        return None
    token = LENGTH_BYTES + length
    if bytes(data[token : token + len(_FERNET)]) != _FERNET:
        return None
    return EnvelopeKind.SAMPLE_FILE


def is_envelope(data: bytes | bytearray | memoryview) -> bool:
    """Whether this is one of the formats."""
    return recognise(data) is not None
