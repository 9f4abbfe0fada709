"""Writes tests/vectors/link.json: frames of the link, for implementations in any language.

Run `python -m tests.vectors.link` after a change of docs/link.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blindgate.link import AnswerHeader, Operation, Outcome, RequestHeader

PATH = Path(__file__).with_suffix(".json")
_ID = bytes(range(16))


def build() -> dict[str, Any]:
    """The vectors; the same ones every time."""
    requests = [
        (RequestHeader(Operation.STATUS, _ID, 1000), b""),
        (
            RequestHeader(
                Operation.DETECT,
                _ID,
                30_000,
                5,
                {"min_score": 0.4, "classes": ["airplane", "bird"], "format": "json"},
            ),
            b"hello",
        ),
        (RequestHeader(Operation.ATTEST, _ID, 5000, params={"nonce": bytes(16)}), b""),
        (RequestHeader(Operation.OHTTP, _ID, 30_000, 3, caller=bytes(range(240, 256))), b"abc"),
    ]
    answers = [
        (AnswerHeader(_ID, Outcome.OK, 2), b"{}"),
        (AnswerHeader(_ID, Outcome.ENVELOPE_REJECTED), b""),
    ]
    return {
        "specification": "docs/link.md",
        "requests": [
            {
                "operation": header.operation.value,
                "request_id": header.request_id.hex(),
                "deadline_ms": header.deadline_ms,
                "params": {
                    name: {"bytes": value.hex()} if isinstance(value, bytes) else value
                    for name, value in header.params.items()
                },
                "caller": header.caller.hex() if header.caller is not None else None,
                "body": body.hex(),
                "frame": (header.encode() + body).hex(),
            }
            for header, body in requests
        ],
        "answers": [
            {
                "request_id": header.request_id.hex(),
                "outcome": header.outcome.value,
                "params": dict(header.params),
                "body": body.hex(),
                "frame": (header.encode() + body).hex(),
            }
            for header, body in answers
        ],
    }


def dump() -> str:
    """The file that holds them."""
    return json.dumps(build(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(dump())
