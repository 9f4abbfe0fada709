"""AWS Encryption SDK messages: what opening them costs, and what refusing hostile ones does."""

from __future__ import annotations

from blindgate.envelope.message_body import open_body, parse_body
from blindgate.envelope.message_errors import MalformedMessage, MessageOverLimit
from blindgate.envelope.message_header import MAX_FRAMES, parse_header
from tests.blindgate.envelope.messages import KEY, SIGNED, Writer
from tests.cost.harness import Case

#: A frame with one byte of content.
_ONE_BYTE_FRAME = 33


def _open(data: bytes) -> object:
    """In memory of its own, as a body that was received: this copy is in what a case may take."""
    memory = memoryview(bytearray(data))
    header = parse_header(memory)
    return open_body(memory, header, parse_body(memory, header), KEY)


def _structure(data: bytes) -> object:
    return parse_body(data, parse_header(data))


def _frames_of_one_byte(size: int) -> bytes:
    return Writer(frame=1).write(b"x" * (size // _ONE_BYTE_FRAME))


def _numbered_frames(size: int) -> bytes:
    """Frames that only their numbers and lengths make, and no final one."""
    frames = (n.to_bytes(4, "big") + bytes(29) for n in range(1, size // _ONE_BYTE_FRAME + 1))
    return Writer(frame=1).message(*frames)


CASES = [
    Case("message in frames of 4 KiB", lambda n: Writer(frame=4096).write(bytes(n)), _open, 1.1),
    Case("message in frames of 4 KiB, signed",
         lambda n: Writer(frame=4096, suite=SIGNED).write(bytes(n)), _open, 1.1),
    Case("message without frames", lambda n: Writer(frame=0).write(bytes(n)), _open, 1.1),
    Case("message of as many one-byte frames as are allowed", _frames_of_one_byte, _open, 1.1,
         MAX_FRAMES * _ONE_BYTE_FRAME // 2 - 100),
    Case("message of 100,000 one-byte frames", _numbered_frames, _open, 1.1, 3_300_000,
         (MessageOverLimit,)),
    Case("message of frames that never end", _numbered_frames, _structure, 0.1,
         MAX_FRAMES * _ONE_BYTE_FRAME // 2 - 100, (MalformedMessage,)),
    Case("message header of zeros", lambda n: b"\x02\x04\x78" + bytes(n), parse_header, 0.1,
         refuses=(MalformedMessage,)),
    Case("message header of ones", lambda n: b"\x02\x04\x78" + b"\xff" * n, parse_header, 0.1,
         refuses=(MalformedMessage, MessageOverLimit)),
    Case("message header of a full encryption context",
         lambda n: Writer(context=[(b"%04x" % i, b"") for i in range(n // 8)]).header,
         parse_header, 60, 8192, (MalformedMessage,)),
]  # fmt: skip
