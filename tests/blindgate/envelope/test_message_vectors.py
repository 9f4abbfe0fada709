"""AWS's vectors for key commitment: messages of its C, Java, JavaScript and Python libraries."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from blindgate.envelope.message_body import open_body, parse_body
from blindgate.envelope.message_errors import MessageNotAuthentic
from blindgate.envelope.message_header import parse_header

PATH = Path(__file__).resolve().parents[2] / "vectors" / "encryption_sdk.json"
VECTORS = json.loads(PATH.read_text(encoding="utf-8"))["vectors"]


def test_all_vectors_are_there() -> None:
    assert len(VECTORS) == 46
    assert sum(vector["plaintext"] is None for vector in VECTORS) == 5


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_a_message_of_another_library_is_read_as_aws_says(vector: dict[str, Any]) -> None:
    message = memoryview(bytearray(base64.b64decode(vector["ciphertext"])))
    header = parse_header(message)
    assert header.message_id == base64.b64decode(vector["message_id"])
    assert header.commitment == base64.b64decode(vector["commitment"]) or not vector["plaintext"]
    assert header.context == vector["context"]
    body = parse_body(message, header)
    data_key = base64.b64decode(vector["data_key"])
    if vector["plaintext"] is None:
        with pytest.raises(MessageNotAuthentic, match="commits to another data key"):
            open_body(message, header, body, data_key)
    else:
        assert open_body(message, header, body, data_key) == vector["plaintext"].encode()
