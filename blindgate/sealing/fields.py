"""HTTP field lines: what a name and a value may hold (RFC 9110 §5, RFC 9113 §8.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from blindgate.sealing.errors import BinaryHttpError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Names in lower case and values, in order; a name may come more than once. Values are the
#: bytes of the wire read as Latin-1, so that any byte that HTTP allows survives a round trip.
Fields = tuple[tuple[str, str], ...]

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LOWER_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
#: No NUL, CR or LF, and no white space at either end.
_VALUE: Final = re.compile(rb"(?:[^\x00\r\n \t](?:[^\x00\r\n]*[^\x00\r\n \t])?)?")

#: Fields that speak about a connection; a message that holds one is malformed (RFC 9113 §8.2.2).
CONNECTION_FIELDS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)


def check(name: bytes, value: bytes) -> None:
    """Refuse a field line that would make an HTTP/2 message malformed.

    Raises:
        BinaryHttpError: The name is no lower-case token (pseudo-fields included), speaks about
            a connection, or the value holds NUL, CR, LF or outer white space.
    """
    if not _LOWER_TOKEN.fullmatch(name):
        raise BinaryHttpError("a field name is not a lower-case token")
    if name in CONNECTION_FIELDS or (name == b"te" and value != b"trailers"):
        raise BinaryHttpError("a field speaks about a connection")
    if not _VALUE.fullmatch(value):
        raise BinaryHttpError("a field value holds a character that is not allowed")


def find(fields: Fields, name: str) -> str | None:
    """The values of one field, joined as RFC 9110 §5.3 says, or None if it is not there."""
    values = [value for key, value in fields if key == name]
    return ", ".join(values) if values else None


def checked(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Fields as bytes, names in lower case, each one checked.

    Raises:
        BinaryHttpError: One of them is not allowed or does not fit Latin-1.
    """
    lines = []
    for name, value in fields:
        try:
            line = name.lower().encode("ascii"), value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise BinaryHttpError("a field holds a character outside Latin-1") from error
        check(*line)
        lines.append(line)
    return lines
