"""The one file of a `multipart/form-data` body (RFC 7578), without copying it.

The parts are found in the chunks that were received; nothing goes to disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from blindgate import problems
from gateway.http.problem_responses import Refused

#: RFC 2046 §5.1.1: a boundary has at most 70 characters.
_MAX_BOUNDARY: Final = 70
#: Names, a media type and a file name; not a place to hide megabytes in.
_MAX_PART_HEADERS: Final = 4096


def boundary_of(content_type: str) -> bytes:
    """The boundary in a Content-Type header.

    Raises:
        Refused: There is none, or one that no sender may use.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise _invalid("the Content-Type has no usable boundary")
    return boundary


def only_file(chunks: Sequence[bytes], boundary: bytes) -> list[memoryview]:
    """Find the file.

    Args:
        chunks: The whole body.
        boundary: What separates its parts.

    Returns:
        The file's bytes as views of `chunks`; at least one byte.

    Raises:
        Refused: Not multipart, cut off, no file, an empty one, or anything beside it.
    """
    form = _Form()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.part_begins,
            "on_header_field": form.header_name,
            "on_header_value": form.header_value,
            "on_header_end": form.header_ends,
            "on_headers_finished": form.headers_end,
            "on_part_data": form.data,
            "on_end": form.ends,
        },
        max_header_count=8,
        max_header_size=_MAX_PART_HEADERS,
    )
    try:
        for chunk in chunks:
            parser.write(chunk)
    except MultipartParseError:
        raise _invalid("the body is not multipart/form-data with this boundary") from None
    if not form.complete:
        raise Refused(problems.UPLOAD_INCOMPLETE)
    if not form.parts:
        raise _invalid("the form has no file")
    if not form.file:
        raise Refused(problems.EMPTY_BODY)
    return form.file


class _Form:
    """What the parser has found so far."""

    def __init__(self) -> None:
        self.file: list[memoryview] = []
        self.parts = 0
        self.complete = False
        self._name = b""
        self._value = b""
        self._disposition = b""

    def part_begins(self) -> None:
        self.parts += 1
        if self.parts > 1:
            raise _invalid("the form has more than one part: send one file and nothing else")
        self._disposition = b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"filename" not in options:
            raise _invalid("the form's part is not a file")

    def data(self, data: bytes, start: int, end: int) -> None:
        self.file.append(memoryview(data)[start:end])

    def ends(self) -> None:
        self.complete = True


def _invalid(message: str) -> Refused:
    fault = {"in": "body", "parameter": "file", "message": message}
    return Refused(problems.INVALID_REQUEST, errors=[fault])
