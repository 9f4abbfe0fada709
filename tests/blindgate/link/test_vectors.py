"""The published vectors are what the code writes and reads."""

from __future__ import annotations

import json

from blindgate.link import AnswerHeader, RequestHeader
from tests.vectors import link


def test_every_published_frame_is_read() -> None:
    published = json.loads(link.PATH.read_text())
    for vector in published["requests"]:
        frame = bytes.fromhex(vector["frame"])
        length = int.from_bytes(frame[:4])
        header = RequestHeader.decode(frame[4 : 4 + length])
        assert header.operation == vector["operation"]
        assert header.body_length == len(frame) - 4 - length
    for vector in published["answers"]:
        frame = bytes.fromhex(vector["frame"])
        answer = AnswerHeader.decode(frame[4 : 4 + int.from_bytes(frame[:4])])
        assert answer.outcome == vector["outcome"]
