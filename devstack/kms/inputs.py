"""Members of a request, checked as KMS's front end checks them.

A wrong JSON type is a SerializationException, a broken constraint a ValidationException with
AWS's sentence. The constraints are those of KMS's public API model (API version 2014-11-01).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from devstack.kms.errors import KmsError, constraint, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Body = dict[str, Any]

#: KMS Developer Guide, "Encryption context": at most 8192 bytes in all.
MAX_CONTEXT_BYTES = 8192


def serialization_error(text: str | None = None) -> KmsError:
    """The request cannot be read as JSON of the right types."""
    return KmsError("SerializationException", text)


def text(
    body: Body,
    name: str,
    *,
    default: str | None = None,
    longest: int = 2048,
    shortest: int = 1,
    choices: Sequence[str] | None = None,
    pattern: str | None = None,
) -> str:
    """Read a string member; without a default it must be there."""
    value = body.get(name)
    if value is None:
        if default is None:
            raise constraint(_camel(name), "Value null", "not be null")
        return default
    if not isinstance(value, str):
        raise serialization_error()
    _check_length(name, len(value), shortest, longest, f"Value '{value[:64]}'")
    if choices is not None and value not in choices:
        rule = f"satisfy enum value set: [{', '.join(choices)}]"
        raise constraint(_camel(name), f"Value '{value[:64]}'", rule)
    if pattern is not None and not re.fullmatch(pattern, value):
        rule = f"satisfy regular expression pattern: {pattern}"
        raise constraint(_camel(name), f"Value '{value[:64]}'", rule)
    return value


def blob(body: Body, name: str, *, longest: int) -> bytes:
    """Read a required base64 member of at least one byte."""
    value = body.get(name)
    if value is None:
        raise constraint(_camel(name), "Value null", "not be null")
    if not isinstance(value, str):
        raise serialization_error()
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise serialization_error() from None
    _check_length(name, len(content), 1, longest, "Value")
    return content


def integer(body: Body, name: str, *, least: int, most: int) -> int | None:
    """Read an optional integer member."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise serialization_error()
    if value < least:
        rule = f"have value greater than or equal to {least}"
        raise constraint(_camel(name), f"Value '{value}'", rule)
    if value > most:
        rule = f"have value less than or equal to {most}"
        raise constraint(_camel(name), f"Value '{value}'", rule)
    return value


def boolean(body: Body, name: str) -> bool:
    """Read an optional boolean member; absent is false."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise serialization_error()
    return value


def pairs(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """Read an optional map of strings, such as the encryption context."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise serialization_error()
    if sum(len(k.encode()) + len(v.encode()) for k, v in value.items()) > MAX_CONTEXT_BYTES:
        raise invalid(f"{name} exceeds the limit of {MAX_CONTEXT_BYTES} bytes.")
    # Condition keys know no case: of two such pairs a policy could see the wrong one.
    if len({each.lower() for each in value}) != len(value):
        raise invalid(f"{name} has keys that differ only in case.")
    return value


def structure(body: Body, name: str) -> Body | None:
    """Read an optional structure."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise serialization_error()
    return value


def encode(content: bytes) -> str:
    """Write a blob member."""
    return base64.b64encode(content).decode()


def _check_length(name: str, size: int, shortest: int, longest: int, shown: str) -> None:
    if size < shortest:
        rule = f"have length greater than or equal to {shortest}"
        raise constraint(_camel(name), shown, rule)
    if size > longest:
        raise constraint(_camel(name), shown, f"have length less than or equal to {longest}")


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]
