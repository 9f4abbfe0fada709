"""The module's CBOR messages: requests out, answers checked field by field.

They are those of aws-nitro-enclaves-nsm-api `src/api/mod.rs` in serde's "externally tagged" form.
"""

from __future__ import annotations

from typing import Final

import cbor2

from blindgate.attestation import cbor
from blindgate.attestation.errors import MalformedDocument
from enclave_app.nsm.errors import BY_CODE, NsmInputTooLarge, NsmProtocolError

#: NSM_REQUEST_MAX_SIZE and NSM_RESPONSE_MAX_SIZE of linux/nsm.h, bytes.
MAX_REQUEST: Final = 0x1000
MAX_RESPONSE: Final = 0x3000

Fields = dict[int | str, cbor.Value]


def encode_request(operation: str, arguments: dict[str, object] | None = None) -> bytes:
    """A request's CBOR: bare text without arguments, else a map of one.

    Raises:
        NsmInputTooLarge: More than the driver takes; nothing needs to be sent.
    """
    request = cbor2.dumps(operation if arguments is None else {operation: arguments})
    if len(request) > MAX_REQUEST:
        raise NsmInputTooLarge(operation)
    return request


def decode_answer(operation: str, answer: bytes) -> Fields:
    """The fields of the answer to `operation`; empty for one that only acknowledges.

    Raises:
        NsmRefused: The module refused; the subclass of its code.
        NsmProtocolError: It is no answer to this operation.
    """
    try:
        message = cbor.decode(answer)
    except MalformedDocument as error:
        raise NsmProtocolError(f"the answer to {operation} cannot be read ({error})") from None
    if message == operation:
        return {}
    if isinstance(message, dict) and len(message) == 1:
        ((name, content),) = message.items()
        if name == "Error" and isinstance(content, str) and content in BY_CODE:
            raise BY_CODE[content](operation)
        if name == operation and isinstance(content, dict):
            return content
    raise NsmProtocolError(f"the security module did not answer {operation}")


def take_bytes(fields: Fields, name: str) -> bytes:
    """A byte-string field.

    Raises:
        NsmProtocolError: Absent or of another type.
    """
    value = fields.get(name)
    if not isinstance(value, bytes):
        raise NsmProtocolError(f"the answer has no bytes {name}")
    return value


def take_text(fields: Fields, name: str) -> str:
    """A text field; errors as `take_bytes`."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise NsmProtocolError(f"the answer has no text {name}")
    return value


def take_number(fields: Fields, name: str) -> int:
    """An unsigned integer field; errors as `take_bytes`."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise NsmProtocolError(f"the answer has no number {name}")
    return value


def take_flag(fields: Fields, name: str) -> bool:
    """A boolean field; errors as `take_bytes`."""
    value = fields.get(name)
    if not isinstance(value, bool):
        raise NsmProtocolError(f"the answer has no flag {name}")
    return value


def take_numbers(fields: Fields, name: str) -> tuple[int, ...]:
    """An array of unsigned integers; errors as `take_bytes`."""
    value = fields.get(name)
    if not isinstance(value, list):
        raise NsmProtocolError(f"the answer has no list {name}")
    numbers = tuple(v for v in value if isinstance(v, int) and not isinstance(v, bool))
    if len(numbers) != len(value):
        raise NsmProtocolError(f"the list {name} is not of numbers")
    return numbers
