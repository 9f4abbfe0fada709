"""The base64 elements in the JSON of a request, decoded in the memory of the body.

A general JSON parser needs many times the memory of a hostile body: 20 MB of empty arrays become
a gigabyte of objects. And it copies each element of an honest one several times. So the strings
that only `data` can hold are taken out first: what is left is as small as the JSON part in front
of binary tensors, and only that is parsed.
"""

from __future__ import annotations

import binascii
import re
import secrets
from dataclasses import dataclass
from typing import Final

from blindgate.oip.errors import OipError

#: Longer than any string outside `data`: 100 labels of 64 characters of four bytes take 26 KB.
LONG_STRING: Final = 32 * 1024
#: All other JSON of a request: 16 elements that are just not long, and 64 KiB for the rest.
MAX_JSON: Final = 16 * LONG_STRING + 64 * 1024
#: Commas, brackets and braces, and so values, in that JSON. The largest request of any client
#: that we know has about 200, among them the commas between 100 labels.
MAX_PARTS: Final = 2048
#: Each value has at most a name and a string.
_MAX_STRINGS: Final = 2 * MAX_PARTS
#: Bytes that are looked at without a pause for other threads: a millisecond.
_STEP: Final = 256 * 1024

_QUOTE: Final = re.compile(rb'"')
_INSIDE: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
#: What encoders that escape more than they must make of base64's alphabet.
_ESCAPES: Final = (
    (rb"\/", b"/"),
    (rb"\u002b", b"+"),
    (rb"\u002B", b"+"),
    (rb"\u002f", b"/"),
    (rb"\u002F", b"/"),
    (rb"\u003d", b"="),
    (rb"\u003D", b"="),
)
_LONGEST_ESCAPE: Final = 6


@dataclass(frozen=True, slots=True)
class ShortJson:
    """A JSON text without its long strings.

    Attributes:
        json: The text, with a reference in place of each.
        prefix: What a reference begins with; nobody can guess it.
        strings: The long strings, as they are written between their quotes.
    """

    json: bytes
    prefix: str
    strings: list[memoryview]

    def index_of(self, text: str) -> int | None:
        """Which long string a parsed string refers to; None for an ordinary string."""
        if not text.startswith(self.prefix):
            return None
        return int(text.removeprefix(self.prefix))


def shorten(text: memoryview) -> ShortJson:
    """Take the long strings out of a JSON text.

    Args:
        text: Anything; whether it is JSON is for the parser to say.

    Raises:
        OipError: What is left is more than the JSON of any request.
    """
    prefix = f"{secrets.token_hex(16)}:"
    kept: list[bytes | memoryview] = []
    strings: list[memoryview] = []
    size = count = done = at = 0
    while (quote := _QUOTE.search(text, at, at + MAX_JSON)) is not None:
        count += 1
        start = quote.end()
        end = _end_of_string(text, start)
        at = end + 1
        if end - start > LONG_STRING:
            kept += (text[done:start], f"{prefix}{len(strings)}".encode())
            size += start - done
            strings.append(text[start:end])
            done = end
        if count > _MAX_STRINGS or size + at - done > MAX_JSON:
            raise _too_large()
    kept.append(text[done:])
    if size + len(text) - done > MAX_JSON:
        raise _too_large()
    json = b"".join(kept)
    if sum(json.count(part) for part in (b",", b"[", b"{")) > MAX_PARTS:
        raise _too_large()
    return ShortJson(json, prefix, strings)


def decode(text: memoryview) -> memoryview:
    """Decode base64 in JSON's spelling, in place.

    Args:
        text: What is written between the quotes; overwritten.

    Returns:
        The decoded bytes: the beginning of `text`.

    Raises:
        ValueError: It is not base64 (RFC 4648 §4).
    """
    read = written = 0
    left = b""
    while read < len(text):
        piece = bytes(text[read : read + _STEP])
        last = read + len(piece) == len(text)
        # No escape is cut in two: it comes with the next piece.
        if not last and (cut := piece.rfind(b"\\", 1 - _LONGEST_ESCAPE)) > 0:
            piece = piece[:cut]
        read += len(piece)
        if b"\\" in piece:
            for written_so, means in _ESCAPES:
                piece = piece.replace(written_so, means)
        piece = left + piece
        whole = len(piece) if last else len(piece) // 4 * 4
        decoded = binascii.a2b_base64(piece[:whole], strict_mode=True)
        if not last and len(decoded) != whole // 4 * 3:
            raise ValueError("padding inside base64")
        left = piece[whole:]
        text[written : written + len(decoded)] = decoded
        written += len(decoded)
    return text[:written]


def _end_of_string(text: memoryview, at: int) -> int:
    """Where the string ends that begins at `at`: its closing quote, or the end of the text."""
    while at < len(text):
        inside = _INSIDE.match(text, at, at + _STEP)
        end = at if inside is None else inside.end()
        if end == at:  # the quote, or a backslash that nothing follows
            break
        at = end
    return at


def _too_large() -> OipError:
    return OipError.of(
        "body",
        f"The JSON has more than {MAX_PARTS} parts or, without the long elements of `data`, "
        f"more than {MAX_JSON} bytes. Send large tensors behind the JSON (binary_data_size)",
    )
