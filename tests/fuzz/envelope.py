"""One function for a coverage-guided fuzzer: the reader of AWS Encryption SDK messages.

    atheris.Setup(sys.argv, envelope.one_input); atheris.Fuzz()

It may raise its own typed error and nothing else. A header that it reads, the stock library reads
the same way, and what it opens, the stock library opens to the same content.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from aws_encryption_sdk.internal.formatting.deserialize import deserialize_header

from blindgate.envelope.message_body import open_body, parse_body
from blindgate.envelope.message_errors import MessageError
from blindgate.envelope.message_header import parse_header
from tests.blindgate.envelope import stock
from tests.blindgate.envelope.messages import KEY


def one_input(data: bytes) -> None:
    """Give `data` to the reader; anything but a typed refusal or agreement is a finding."""
    with suppress(MessageError):
        header = parse_header(data)
        expected, raw = deserialize_header(BytesIO(data))
        assert header.authenticated == raw
        assert header.context == expected.encryption_context
        assert {
            (key.provider_id, key.provider_info, key.ciphertext) for key in header.data_keys
        } == {
            (key.key_provider.provider_id, key.key_provider.key_info, key.encrypted_data_key)
            for key in expected.encrypted_data_keys
        }
        memory = memoryview(bytearray(data))
        content = open_body(memory, header, parse_body(memory, header), KEY)
        assert content == stock.decrypt(data)
