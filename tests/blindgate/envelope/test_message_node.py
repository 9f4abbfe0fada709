"""Messages of the AWS Encryption SDK for Node are opened."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blindgate.envelope.message_body import open_body, parse_body
from blindgate.envelope.message_header import Header, parse_header
from tests.tools import npm

FOLDER = npm.FOLDER / "encryption_sdk"
WRAPPING_KEY = os.urandom(32)
SUITES = {
    "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY": 0x0478,
    "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384": 0x0578,
}
#: Frame length and bytes of content.
FRAMES = [
    *((1, 0), (1, 3), (16, 15), (16, 16), (16, 17)),
    *((4096, 10_000), (65_536, 200_000), (1_000_000, 5000)),
]
CONTEXTS = [{}, {"purpose": "blindgate", "Abteilung": "Röntgen", "\U0001f4f7": "\uffee"}]


def unwrapped(header: Header) -> bytes:
    """What the Raw AES keyring does (`framework/raw-aes-keyring.md` of the specification)."""
    (key,) = header.data_keys
    assert key.provider_id == "namespace"
    assert key.provider_info[:4] == b"name"
    tag_bits, iv_length = key.provider_info[4:8], key.provider_info[8:12]
    assert (tag_bits, iv_length) == (b"\0\0\0\x80", b"\0\0\0\x0c")
    context_length = int.from_bytes(header.authenticated[35:37], "big")
    context = header.authenticated[37 : 37 + context_length]
    return AESGCM(WRAPPING_KEY).decrypt(key.provider_info[12:], key.ciphertext, context)


@pytest.mark.slow
@npm.needs_npm
@pytest.mark.timeout(600)
def test_messages_of_the_node_library_are_opened(tmp_path: Path) -> None:
    npm.install(FOLDER)
    assert npm.NODE is not None
    cases = [
        (suite, frame, context, os.urandom(size))
        for suite in SUITES
        for frame, size in FRAMES
        for context in CONTEXTS
    ]
    (tmp_path / "cases.json").write_text(
        json.dumps(
            {
                "wrappingKey": base64.b64encode(WRAPPING_KEY).decode(),
                "cases": [
                    {
                        "suite": suite,
                        "frameLength": frame,
                        "context": context,
                        "content": base64.b64encode(content).decode(),
                    }
                    for suite, frame, context, content in cases
                ],
            }
        )
    )
    npm.run(
        [npm.NODE, FOLDER / "write.mjs", tmp_path / "cases.json", tmp_path / "messages.json"],
        FOLDER,
    )
    messages = json.loads((tmp_path / "messages.json").read_text())
    assert len(messages) == len(cases)
    for encoded, (suite, frame, context, content) in zip(messages, cases, strict=True):
        message = memoryview(bytearray(base64.b64decode(encoded)))
        header = parse_header(message)
        assert (header.suite, header.frame_length) == (SUITES[suite], frame)
        assert context.items() <= header.context.items()
        body = parse_body(message, header)
        assert open_body(message, header, body, unwrapped(header)) == content
