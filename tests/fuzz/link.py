"""One function for a coverage-guided fuzzer: the frames of the link, in both directions.

    atheris.Setup(sys.argv, link.one_input); atheris.Fuzz()

What is read must be written again in a form that is read the same way; anything else is a
`FrameError`.
"""

from __future__ import annotations

from contextlib import suppress

from blindgate.link import AnswerHeader, FrameError, FrameLimits, FrameReader, RequestHeader

_LIMITS = FrameLimits(body=4096)


def one_input(data: bytes) -> None:
    """Give `data` to a reader of each direction; anything but a typed refusal is a finding."""
    with suppress(FrameError):
        _read(FrameReader(RequestHeader, _LIMITS), data)
    with suppress(FrameError):
        _read(FrameReader(AnswerHeader, _LIMITS), data)


def _read(reader: FrameReader[RequestHeader] | FrameReader[AnswerHeader], data: bytes) -> None:
    offset = 0
    while offset < len(data):
        target = reader.buffer()
        assert len(target) > 0
        count = min(len(target), len(data) - offset)
        target[:count] = data[offset : offset + count]
        offset += count
        event = reader.received(count)
        if isinstance(event, RequestHeader | AnswerHeader):
            assert event.body_length <= _LIMITS.body
            assert type(event).decode(event.encode()[4:]) == event
