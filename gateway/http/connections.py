"""HTTP/1.1 connections: limits that uvicorn and h11 lack, and errors before the application.

uvicorn's h11 implementation does the work. It keeps the body of a request that offers an upgrade,
handles one request at a time, and never takes a body for a request. Added here:

- a timeout and byte limits for the head of a request, and limits for trailers and chunks;
- strict framing: what two HTTP implementations could read differently is refused (RFC 9112 §11.2);
- a problem document with a request id for every error that the application never sees.

It uses private attributes of both libraries, hence their upper bounds in `pyproject.toml`;
`tests/gateway/test_framing.py` fails where one of them changes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import unquote

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from blindgate import problems
from gateway.context import RequestContext, context_of
from gateway.telemetry.access_log import Record, Records

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fastapi import FastAPI
    from uvicorn._types import HTTPScope

    from blindgate.problems import Problem
    from gateway.settings import Settings

#: Bytes of a head or of a trailer section. Browsers send 1 KiB, tokens and traces add a few.
MAX_HEAD: Final = 32 * 1024
#: Bytes of the request line. 100 class names of 64 characters need 7 KiB; AWS's load balancer
#: takes 16 KiB.
MAX_TARGET: Final = 16 * 1024
#: Header fields of a head or of a trailer section; browsers send about 20.
MAX_FIELDS: Final = 100
#: Bytes of the line before a chunk: a size has 16 digits, and nobody uses chunk extensions.
MAX_CHUNK_LINE: Final = 1024
#: Chunks of a body, however short they are; and the mean size in bytes beyond that number. A chunk
#: costs 10 microseconds here. Clients that send a binary file line by line have a mean of 256.
FREE_CHUNKS: Final = 1024
MIN_MEAN_CHUNK: Final = 128
#: Seconds and bytes for which the client may go on sending after a refusal. Closing a socket with
#: unread data resets the connection, and the client could lose the response (RFC 9112 §9.6). The
#: largest body that the default limits allow, twice.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 64 * 1024 * 1024

_VERSIONS: Final = (b"1.0", b"1.1")
#: RFC 9110 §7.2, RFC 3986 §3.2: a name, an IPv4 address or an IP literal, and perhaps a port.
_HOST: Final = re.compile(rb"([\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?", re.ASCII)
#: The start of a request target in absolute form (RFC 9112 §3.2.2).
_ABSOLUTE: Final = re.compile(rb"https?://[^/]*", re.ASCII | re.IGNORECASE)
_LAST: Final = (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)
_BY_HINT: Final = {431: problems.HEADER_TOO_LARGE, 501: problems.NOT_IMPLEMENTED}


class _Broken(h11.RemoteProtocolError):
    """The client broke a rule.

    Attributes:
        problem: What to refuse the request with.
        detail: Which rule.
    """

    def __init__(self, problem: Problem, detail: str | None = None) -> None:
        super().__init__(detail or problem.title, error_status_hint=problem.status)
        self.problem = problem
        self.detail = detail


def _malformed(detail: str) -> _Broken:
    return _Broken(problems.MALFORMED_REQUEST, detail)


class _Buffer(ReceiveBuffer):
    """Received bytes that h11 has not parsed: every limit is checked before it parses them.

    What arrives while it is empty is kept as it is, and handed on so if it is taken as a whole:
    nearly all of a body is not copied. It becomes a bytearray, which can be shortened and extended
    cheaply, only when that is needed.

    Attributes:
        in_head: Whether a request begins here; otherwise its body or its trailers go on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._searched = 0
        self.in_head = True
        self.next_message()

    def __iadd__(self, received: bytes | bytearray) -> Self:
        if not self._data and type(received) is bytes:
            self._data = cast("bytearray", received)
        else:
            self._mutable().extend(received)
        return self

    def next_message(self) -> None:
        """Reset the limits for the next request."""
        self._empty_line_seen = False
        self._chunks = 0
        self._size = 0

    def skip_empty_line(self) -> None:
        """Ignore an empty line before a request (RFC 9112 §2.2), but not several."""
        if not self._empty_line_seen and self._data.startswith(b"\r\n"):
            self._empty_line_seen = True
            self._extract(2)

    def is_next_line_obviously_invalid_request_line(self) -> bool:
        """Whether no head begins like this; the first half of an empty line may still be one."""
        if self._data == b"\r" and not self._empty_line_seen:
            return False
        return super().is_next_line_obviously_invalid_request_line()

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Extract the lines of a head or of a trailer section, once it is complete."""
        if self._data.startswith(b"\r\n"):
            self._extract(2)
            return []
        end = self._data.find(b"\r\n\r\n", self._searched)
        self._check_section(end)
        if end < 0:
            self._searched = max(0, len(self._data) - 3)
            return None
        section = self._extract(end + 4)
        lines = section[:-4].split(b"\r\n")
        for line in lines:
            if b"\r" in line or line.startswith((b" ", b"\t")):
                raise _malformed("A line of the header is folded or has a bare CR.")
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """Extract the line before a chunk, once it is complete."""
        line = super().maybe_extract_next_line()
        if (len(self._data) if line is None else len(line)) > MAX_CHUNK_LINE:
            raise _malformed(f"The line before a chunk is over {MAX_CHUNK_LINE} bytes.")
        if line is not None:
            if b"\r" in line[:-2] or line.endswith((b" \r\n", b"\t\r\n")):
                raise _malformed("The line before a chunk has a bare CR or ends with a space.")
            self._chunks += 1
            if self._chunks > FREE_CHUNKS + self._size // MIN_MEAN_CHUNK:
                raise _malformed(f"The chunks are shorter than {MIN_MEAN_CHUNK} bytes on average.")
        return line

    def maybe_extract_at_most(self, count: int) -> bytearray | None:
        """Extract bytes of a body."""
        if not self._data:
            return None
        data = self._extract(count)
        self._size += len(data)
        return data

    def _check_section(self, end: int) -> None:
        size = len(self._data) if end < 0 else end
        if end < 0:
            # What may be the beginning of its end is no part of a section.
            for begun in (b"\r\n\r", b"\r\n", b"\r"):
                if self._data.endswith(begun):
                    size -= len(begun)
                    break
        if self.in_head and size > MAX_TARGET and self._data.find(b"\r\n", 0, MAX_TARGET) < 0:
            raise _Broken(problems.URI_TOO_LONG)
        if size > MAX_HEAD:
            raise _Broken(problems.HEADER_TOO_LARGE, f"The header is over {MAX_HEAD} bytes.")
        # The last line has no end in this range; the first one of a head is no field.
        if self._data.count(b"\n", 0, size) > MAX_FIELDS - (not self.in_head):
            raise _Broken(problems.HEADER_TOO_LARGE, f"There are more than {MAX_FIELDS} fields.")
        if self._data.count(b"\n", 0, size) != self._data.count(b"\r\n", 0, size):
            raise _malformed("A line of the header ends with a bare LF.")

    def _extract(self, count: int) -> bytearray:
        """Remove bytes from the front; all of them are handed over without a copy."""
        if count >= len(self._data):
            taken, self._data = self._data, bytearray()
        else:
            data = self._mutable()
            taken = data[:count]
            del data[:count]
        self._searched = self._next_line_search = self._multiple_lines_search = 0
        return taken

    def _mutable(self) -> bytearray:
        if type(self._data) is not bytearray:
            self._data = bytearray(self._data)
        return self._data


class _Chunks:
    """The part of a body that the application has not received yet, in place of a bytearray."""

    def __init__(self) -> None:
        self._chunks: list[bytes | bytearray] = []
        self._size = 0

    def __iadd__(self, chunk: bytes | bytearray) -> Self:
        self._chunks.append(chunk)
        self._size += len(chunk)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """A single chunk is not copied."""
        if len(self._chunks) == 1 and isinstance(only := self._chunks[0], bytes):
            return only
        return b"".join(self._chunks)


class _Connection(h11.Connection):
    """h11's parser with our limits, and without what it takes and others may read differently.

    Args:
        before_data: Called before a part of a body is handed over.
    """

    def __init__(self, before_data: Callable[[], None]) -> None:
        # h11 counts what has begun of the end of a section; `_Buffer` does not.
        super().__init__(h11.SERVER, MAX_HEAD + len(b"\r\n\r"))
        self._before_data = before_data
        self._buffer = self._receive_buffer = _Buffer()

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Parse the next event.

        Raises:
            h11.RemoteProtocolError: The client broke a rule. No more may be parsed then.
        """
        self._buffer.in_head = self.their_state is h11.IDLE
        if self._buffer.in_head:
            self._buffer.skip_empty_line()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._buffer.next_message()
            _check_request(event)
        elif isinstance(event, h11.Data):
            self._before_data()
        return event


def _check_request(request: h11.Request) -> None:
    if request.http_version not in _VERSIONS:
        raise _Broken(problems.HTTP_VERSION)
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise _malformed("The request has Content-Length and Transfer-Encoding.")
        if request.http_version == b"1.0":
            raise _malformed("HTTP/1.0 has no Transfer-Encoding.")
    for name, value in request.headers:
        if name == b"host" and not _HOST.fullmatch(value):
            raise _malformed("Host is not a name or an address with an optional port.")


class BoundedProtocol(H11Protocol):
    """A connection whose heads are limited in time and size.

    State                begins with                    ends with
    waiting for a head   the connection; the first      a complete head, or the timeout, which
                         byte after a response          closes the connection
    handling a request   a complete head                the end of its response
    idle                 the end of a response          the first byte, or uvicorn's keep-alive
    refused              an error of the client         its close, or the limits for lingering

    In every state, a response must be read at the rate at which a body must arrive: what is still
    unsent when that time is over is dropped with the connection.

    The rest of a body whose response is complete is discarded while waiting for the next head, and
    the timeout covers both.
    """

    #: See `bounded_protocol`.
    head_seconds = 10.0
    read_seconds: Callable[[int], float] = staticmethod(lambda _: 60.0)
    records: Records | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Connection(self._collect_chunks)
        self._timer: asyncio.TimerHandle | None = None
        #: Bytes that are still discarded after a refusal.
        self._lingering: int | None = None
        self._half_closed = False
        #: When a response that is partly unsent must have been read, and the bytes it began with.
        self._reader_timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, unless no request can follow any more."""
        if self._lingering is not None:
            self._lingering -= len(data)
            if self._lingering < 0:
                self.transport.abort()
            return
        if self.conn.their_state in _LAST:
            return
        super().data_received(data)
        if not self._is_busy():
            self._wait_for_head()

    def eof_received(self) -> None:
        """Refuse a body that ended before it was complete; the transport then closes itself."""
        if self._lingering is None and self.conn.their_state is h11.SEND_BODY and self._is_busy():
            self._half_closed = True
            self.conn.receive_data(b"")
            self.handle_events()

    def handle_events(self) -> None:
        """Handle what has been parsed; a body is not read before the application asks for it."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._lingering is None:
            self._stop_waiting()
            self._unsent = self.transport.get_write_buffer_size()
            if not self._unsent:
                self._stop_reader_timer()
            _use_origin_form(self.scope)
            if self.cycle.more_body:
                self.flow.pause_reading()

    def _should_upgrade(self) -> bool:
        """Ignore every offer to upgrade (RFC 9110 §7.8)."""
        return False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Refuse what could not be parsed; called by uvicorn while it handles the error."""
        error = sys.exc_info()[1]
        if self._half_closed:
            self._refuse(problems.UPLOAD_INCOMPLETE)
        elif isinstance(error, _Broken):
            self._refuse(error.problem, error.detail)
        else:
            hint = getattr(error, "error_status_hint", 400)
            self._refuse(_BY_HINT.get(hint, problems.MALFORMED_REQUEST))

    def pause_writing(self) -> None:
        """Limit the time of a client that does not read, also before its response is complete."""
        super().pause_writing()
        self._limit_reader()

    def on_response_complete(self) -> None:
        """Limit the time in which the client reads what the system has not taken yet."""
        self._limit_reader()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to wait for."""
        self._stop_waiting()
        self._stop_reader_timer()
        super().connection_lost(exc)

    def _collect_chunks(self) -> None:
        """Make uvicorn collect chunks: it would copy them into a bytearray, and out of that again.

        It puts an empty bytearray there whenever the application has received something.
        """
        if not self.cycle.body:
            self.cycle.body = _Chunks()  # type: ignore[assignment]

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _limit_reader(self) -> None:
        """Start the timeout for unsent bytes, or extend it by the time for what was added.

        So a client that sends request after request and reads nothing gains no time by it.
        """
        size = self.transport.get_write_buffer_size()
        added, self._unsent = size - self._unsent, size
        if added <= 0:
            return
        if self._reader_timer is None:
            ends = self.loop.time() + self.read_seconds(size)
        else:
            ends = self._reader_timer.when() + self.read_seconds(added) - self.read_seconds(0)
            self._reader_timer.cancel()
        self._reader_timer = self.loop.call_at(ends, self._drop_slow_reader)

    def _drop_slow_reader(self) -> None:
        self._reader_timer = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _refuse(self, problem: Problem, detail: str | None = None) -> None:
        """Send a problem document, if this request has no response yet, and close."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self._lingering = LINGER_BYTES
        busy = self._is_busy()
        context = context_of(cast("dict[str, Any]", self.cycle.scope)) if busy else RequestContext()
        request_id = context.request_id
        if busy:
            # The application learns that the client has gone; `Edge` records the refusal.
            context.refused = problem
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        elif self.records is not None:
            self.records.add(_record(problem, context))
        if self.transport.is_closing():
            return
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = json.dumps(problem.body(detail, request_id=request_id)).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        if busy and self.scope["method"] == "HEAD":
            body = b""
        reason = STATUS_PHRASES[problem.status]
        for event in (
            h11.Response(status_code=problem.status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _record(problem: Problem, context: RequestContext) -> Record:
    return Record(
        context.timeline,
        time.perf_counter(),
        method="other",
        route=None,
        status=problem.status,
        problem=problem.slug,
        request_id=context.request_id,
        enclave=None,
        parent=None,
    )


def _use_origin_form(scope: HTTPScope) -> None:
    """Drop scheme and authority from a target in absolute form; servers must take it."""
    if (found := _ABSOLUTE.match(scope["raw_path"])) is not None:
        scope["raw_path"] = scope["raw_path"][found.end() :] or b"/"
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))


def bounded_protocol(
    head_seconds: float,
    records: Records | None = None,
    read_seconds: Callable[[int], float] = BoundedProtocol.read_seconds,
) -> type[BoundedProtocol]:
    """The protocol class for uvicorn.

    Args:
        head_seconds: How long the head of a request may take.
        records: Where to note requests that the application never sees.
        read_seconds: How long a client may take to read so many bytes of responses.
    """
    values = {
        "head_seconds": head_seconds,
        "records": records,
        "read_seconds": staticmethod(read_seconds),
    }
    return type("BoundedProtocol", (BoundedProtocol,), values)


def server_options(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The options of uvicorn that decide what a client may do."""

    def read_seconds(size: int) -> float:
        """As for a body: a time without a minimum rate, and then that rate."""
        if not settings.min_upload_rate:
            return settings.upload_timeout
        return settings.upload_grace + size / settings.min_upload_rate

    return {
        "http": bounded_protocol(settings.head_timeout, app.state.records, read_seconds),
        "ws": "none",
        # Without a trusted proxy `X-Forwarded-For` is what anybody may write.
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "log_config": None,
        "access_log": False,
        "server_header": False,
    }
