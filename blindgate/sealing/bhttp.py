"""Binary HTTP messages (RFC 9292): requests and responses as bytes.

Written in the known-length form; both forms are read, with limits, because a client that
follows the RFC may send either. A decoded body is a view of the input, not a copy: a photo of
1 MB is not moved once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blindgate.sealing import fields as field_rules
from blindgate.sealing import varint
from blindgate.sealing.errors import BinaryHttpError

if TYPE_CHECKING:
    from blindgate.sealing.fields import Fields

#: `message/bhttp`, the media type of these messages (RFC 9292 §7).
MEDIA_TYPE: Final = "message/bhttp"

_REQUEST, _RESPONSE, _REQUEST_CHUNKED, _RESPONSE_CHUNKED = range(4)

_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
#: No white space and no control characters: what could split a request in two elsewhere.
_VISIBLE: Final = re.compile(rb"[\x21-\x7e\x80-\xff]*")

_ZEROS: Final = bytes(64 * 1024)

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decoder takes before it refuses.

    Attributes:
        content: Bytes of the body; the gateway's own upload limit by default is the same.
        target: Bytes of method, scheme, authority or path, each; longer than any sane URL.
        section: Bytes of one header or trailer section; what common servers allow.
        lines: Field lines in one section.
        informational: 1xx responses before the final one.
        chunks: Chunks of an indeterminate-length body.
    """

    content: int = 32 * 1024 * 1024
    target: int = 8 * 1024
    section: int = 16 * 1024
    lines: int = 64
    informational: int = 4
    chunks: int = 16 * 1024


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `path` includes the query."""

    method: str
    scheme: str
    authority: str
    path: str
    headers: Fields = ()
    content: Buffer = b""
    trailers: Fields = ()

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None."""
        return field_rules.find(self.headers, name)

    def encode(self, *, padded_to: int = 0) -> bytes:
        """The known-length form, followed by zero bytes up to `padded_to`.

        Raises:
            BinaryHttpError: A part breaks the rules that a decoder checks.
        """
        method, scheme = _latin(self.method), _latin(self.scheme)
        authority, path = _latin(self.authority), _latin(self.path)
        _check_target(method, scheme, authority, path)
        control = (_prefixed(part) for part in (method, scheme, authority, path))
        return _assemble(_REQUEST, [*control], self.headers, self.content, self.trailers, padded_to)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; `informational` are the 1xx responses that came before it."""

    status: int
    headers: Fields = ()
    content: Buffer = b""
    trailers: Fields = ()
    informational: tuple[tuple[int, Fields], ...] = ()

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None."""
        return field_rules.find(self.headers, name)

    def encode(self, *, padded_to: int = 0) -> bytes:
        """The known-length form, followed by zero bytes up to `padded_to`.

        Raises:
            BinaryHttpError: A part breaks the rules that a decoder checks.
        """
        control = []
        for status, headers in self.informational:
            if not 100 <= status <= 199:
                raise BinaryHttpError("an informational status code is 100 to 199")
            control += [varint.encode(status), _section(headers)]
        if not 200 <= self.status <= 599:
            raise BinaryHttpError("a final status code is 200 to 599")
        control.append(varint.encode(self.status))
        return _assemble(_RESPONSE, control, self.headers, self.content, self.trailers, padded_to)


def decode_request(message: Buffer, limits: Limits = DEFAULT_LIMITS) -> Request:
    """Read a request in either form.

    Args:
        message: The whole message; the returned `content` is a view of it where it can be.
        limits: What to refuse.

    Raises:
        BinaryHttpError: The message is not valid (RFC 9292 §4) or over a limit.
    """
    reader = varint.Reader(message)
    framing = reader.integer()
    if framing not in (_REQUEST, _REQUEST_CHUNKED):
        raise BinaryHttpError("this is not a request")
    parts = [bytes(reader.prefixed(limit=limits.target)) for _ in range(4)]
    _check_target(*parts)
    method, scheme, authority, path = (part.decode("latin-1") for part in parts)
    headers, content, trailers = _sections(reader, framing == _REQUEST_CHUNKED, limits)
    return Request(method, scheme, authority, path, headers, content, trailers)


def decode_response(message: Buffer, limits: Limits = DEFAULT_LIMITS) -> Response:
    """Read a response in either form.

    Args:
        message: The whole message; the returned `content` is a view of it where it can be.
        limits: What to refuse.

    Raises:
        BinaryHttpError: The message is not valid (RFC 9292 §4) or over a limit.
    """
    reader = varint.Reader(message)
    framing = reader.integer()
    if framing not in (_RESPONSE, _RESPONSE_CHUNKED):
        raise BinaryHttpError("this is not a response")
    chunked = framing == _RESPONSE_CHUNKED
    informational: list[tuple[int, Fields]] = []
    while 100 <= (status := reader.integer()) <= 199:
        if len(informational) == limits.informational:
            raise BinaryHttpError("too many informational responses")
        informational.append((status, _read_section(reader, chunked, limits)))
    if not 200 <= status <= 599:
        raise BinaryHttpError("the status code is not one of HTTP")
    headers, content, trailers = _sections(reader, chunked, limits)
    return Response(status, headers, content, trailers, tuple(informational))


def _sections(
    reader: varint.Reader, chunked: bool, limits: Limits
) -> tuple[Fields, Buffer, Fields]:
    """Header, content, trailer and padding; empty ones at the end may be cut off (§3.8)."""
    headers = _read_section(reader, chunked, limits) if reader.left else ()
    content: Buffer = b""
    if reader.left:
        content = _read_chunks(reader, limits) if chunked else reader.prefixed(limit=limits.content)
    trailers = _read_section(reader, chunked, limits) if reader.left else ()
    padding = reader.rest()
    for start in range(0, len(padding), len(_ZEROS)):
        # Compares without a copy: the padding may be as large as the message.
        if not _ZEROS.startswith(padding[start : start + len(_ZEROS)]):
            raise BinaryHttpError("the padding is not zero")
    declared = field_rules.find(headers, "content-length")
    if declared is not None and declared != str(len(content)):
        raise BinaryHttpError("Content-Length is not the length of the content")
    return headers, content, trailers


def _read_section(reader: varint.Reader, chunked: bool, limits: Limits) -> Fields:
    """One header or trailer section: counted in bytes, or ended by a zero."""
    if not chunked:
        reader = varint.Reader(reader.prefixed(limit=limits.section))
    lines: list[tuple[str, str]] = []
    size = 0
    while chunked or reader.left:
        length = reader.integer()
        if not length:
            if chunked:
                break
            raise BinaryHttpError("a field has no name")
        name = bytes(reader.take(length, limit=limits.section))
        value = bytes(reader.prefixed(limit=limits.section))
        size += len(name) + len(value)
        if len(lines) == limits.lines or size > limits.section:
            raise BinaryHttpError("a field section is over its limit")
        field_rules.check(name, value)
        lines.append((name.decode("ascii"), value.decode("latin-1")))
    return tuple(lines)


def _read_chunks(reader: varint.Reader, limits: Limits) -> bytes:
    """An indeterminate-length body: chunks until an empty one (§3.2)."""
    chunks: list[memoryview] = []
    left = limits.content
    while length := reader.integer():
        if len(chunks) == limits.chunks:
            raise BinaryHttpError("the content has too many chunks")
        chunks.append(reader.take(length, limit=left))
        left -= length
    return b"".join(chunks)


def _assemble(
    framing: int,
    control: list[bytes],
    headers: Fields,
    content: Buffer,
    trailers: Fields,
    padded_to: int,
) -> bytes:
    declared = field_rules.find(headers, "content-length")
    if declared is not None and declared != str(len(content)):
        raise BinaryHttpError("Content-Length is not the length of the content")
    parts: list[Buffer] = [
        varint.encode(framing),
        *control,
        _section(headers),
        varint.encode(len(content)),
        content,
        _section(trailers),
    ]
    size = sum(map(len, parts))
    if size < padded_to:
        parts.append(bytes(padded_to - size))
    return b"".join(parts)


def _section(headers: Fields) -> bytes:
    parts: list[bytes] = []
    for name, value in field_rules.checked(headers):
        parts += varint.encode(len(name)), name, varint.encode(len(value)), value
    return _prefixed(b"".join(parts))


def _prefixed(part: bytes) -> bytes:
    return varint.encode(len(part)) + part


def _latin(part: str) -> bytes:
    try:
        return part.encode("latin-1")
    except UnicodeEncodeError as error:
        raise BinaryHttpError("the request target holds a character outside Latin-1") from error


def _check_target(method: bytes, scheme: bytes, authority: bytes, path: bytes) -> None:
    """The rules of HTTP/2's pseudo-fields (RFC 9113 §8.3.1), CONNECT left out."""
    if not field_rules.TOKEN.fullmatch(method) or method == b"CONNECT":
        raise BinaryHttpError("the method is not one that can be sealed")
    if not _SCHEME.fullmatch(scheme) or not _VISIBLE.fullmatch(authority):
        raise BinaryHttpError("the scheme or the authority is not valid")
    if not _VISIBLE.fullmatch(path) or not (path.startswith(b"/") or path == b"*"):
        raise BinaryHttpError("the path is not valid")
