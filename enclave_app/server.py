"""The sockets of the worker: frames in, frames out, one thread a connection.

The threads here only wait, receive and send; what burns CPU goes through `Compute`. Blocking
`recv_into` on the frame reader's own memory costs a half to a quarter of what an asyncio
StreamReader does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from blindgate.link import (
    AnswerHeader,
    FrameError,
    FrameLimits,
    FrameReader,
    Outcome,
    RequestHeader,
)
from blindgate.link.frames import Body, Params
from enclave_app import limits
from enclave_app.compute import Deadline, DeadlineExceeded, MemoryBudget, Overloaded

log = logging.getLogger("blindgate.worker")

#: `struct timeval` of socket(7).
_TIMEVAL: Final = struct.Struct("@ll")
#: Half of what an AF_VSOCK socket holds by default: see `_most_at_once`.
_VSOCK_PIECE: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the link.

    Attributes:
        header: What the gateway says of it.
        body: All of its body, in memory of its own.
        deadline: When nobody waits for the answer any more.
        wanted: Whether the gateway still keeps the connection open.
    """

    header: RequestHeader
    body: Body
    deadline: Deadline
    wanted: Callable[[], bool]

    def release(self) -> None:
        """Give the body's memory back: what was in it has been opened, and is elsewhere."""
        if isinstance(self.body, bytearray):
            with contextlib.suppress(BufferError):  # somebody still looks at it
                self.body.clear()


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    outcome: Outcome
    body: bytes = b""
    params: Params | None = None


class LinkServer:
    """Accepts connections and answers the requests on each in their order.

    Args:
        listener: A listening stream socket of the link; closed by `close`.
        handle: Answers one request; what it raises is an internal error.
        body_bytes: The largest body.
        uploads: Memory that all bodies share.
        connections: How many are served at once; further ones are closed at once.
    """

    def __init__(
        self,
        listener: socket.socket,
        handle: Callable[[Request], Answer],
        *,
        body_bytes: int,
        uploads: MemoryBudget,
        connections: int,
    ) -> None:
        self._listener = listener
        self._handle = handle
        self._limits = FrameLimits(body=body_bytes)
        self._uploads = uploads
        self._most = connections
        self._open: set[socket.socket] = set()
        self._in_flight = 0
        self._changed = threading.Condition()
        self._closed = False

    def __repr__(self) -> str:
        return f"<LinkServer {len(self._open)} connections, {self._in_flight} in flight>"

    def serve_forever(self) -> None:
        """Accept connections until `close`."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                raise
            with self._changed:
                if self._closed or len(self._open) >= self._most:
                    connection.close()
                    continue
                self._open.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), name="connection", daemon=True
            ).start()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no request is in hand; False if that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, seconds)

    def close(self) -> None:
        """Stop accepting and end every connection."""
        with self._changed:
            self._closed = True
            connections = list(self._open)
        # shutdown, since close alone does not wake a thread that is blocked in the socket.
        for sock in [self._listener, *connections]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader(RequestHeader, self._limits)
        try:
            with connection:
                _give_up_after(connection, socket.SO_SNDTIMEO, limits.STALL_SECONDS)
                while self._serve_one(connection, reader):
                    pass
        except FrameError as error:
            log.warning("closing a connection: %s", error)
        except OSError:
            log.info("a connection broke")
        finally:
            with self._changed:
                self._open.discard(connection)

    def _serve_one(self, connection: socket.socket, reader: FrameReader[RequestHeader]) -> bool:
        """Answer one request; False when the connection has come to its end."""
        header = _read_header(connection, reader)
        if header is None:
            return False
        deadline = Deadline(header.deadline_ms / 1000)
        with self._counted():
            try:
                with self._uploads.hold(header.body_length, deadline):
                    body = _read_body(connection, reader, header)
                    answer = self._answer(
                        Request(header, body, deadline, lambda: _is_open(connection))
                    )
            except Overloaded:
                answer = Answer(Outcome.OVERLOADED)
            except DeadlineExceeded:
                answer = Answer(Outcome.DEADLINE_EXCEEDED)
            _send(connection, header, answer)
        # A body that was refused unread stays in the stream, so the connection is of no more use.
        return reader.is_between_frames

    def _answer(self, request: Request) -> Answer:
        try:
            return self._handle(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the worker
            # The type alone: a message may quote what was decrypted.
            log.error("internal error: %s", type(error).__name__)
            return Answer(Outcome.INTERNAL_ERROR)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()


def _read_header(
    connection: socket.socket, reader: FrameReader[RequestHeader]
) -> RequestHeader | None:
    _give_up_after(connection, socket.SO_RCVTIMEO, 0)
    while True:
        count = connection.recv_into(reader.buffer())
        if count == 0 and reader.is_between_frames:
            return None
        event = reader.received(count)
        if isinstance(event, RequestHeader):
            return event
        _give_up_after(connection, socket.SO_RCVTIMEO, limits.STALL_SECONDS)


def _read_body(
    connection: socket.socket, reader: FrameReader[RequestHeader], header: RequestHeader
) -> Body:
    if header.body_length == 0:
        return bytearray()
    while True:
        # One call for the whole body, where it can be: a wake-up for each of its pieces would take
        # the processor from what computes.
        room = reader.buffer()[: _most_at_once(connection)]
        event = reader.received(connection.recv_into(room, 0, socket.MSG_WAITALL))
        if isinstance(event, bytearray | memoryview):
            return event


def _most_at_once(connection: socket.socket) -> int | None:
    """How much one call can wait for; None for as much as one likes.

    AF_VSOCK refuses to wait for more than its queue holds, with ENOMEM (Linux
    `net/vmw_vsock/af_vsock.c`, `stream_rcvhiwat`); that is 256 KiB unless it was changed.
    """
    return _VSOCK_PIECE if connection.family == getattr(socket, "AF_VSOCK", None) else None


def _give_up_after(connection: socket.socket, option: int, seconds: float) -> None:
    """Have the kernel end a read or a write after so long; 0 lets it wait for ever.

    A time-out of Python's makes the socket non-blocking, for which there is no MSG_WAITALL.
    """
    whole = int(seconds)
    timeval = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
    # For AF_VSOCK Python takes options as 64-bit integers alone, so a second object for the same
    # socket passes for another family.
    same = os.dup(connection.fileno())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=same) as plain:
        plain.setsockopt(socket.SOL_SOCKET, option, timeval)


def _is_open(connection: socket.socket) -> bool:
    arrived = select.poll()
    try:
        arrived.register(connection, select.POLLIN)
        return not arrived.poll(0) or connection.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


def _send(connection: socket.socket, header: RequestHeader, answer: Answer) -> None:
    head = AnswerHeader(
        header.request_id, answer.outcome, len(answer.body), answer.params or {}
    ).encode()
    if len(answer.body) <= limits.WRITE_BYTES:
        connection.sendall(head + answer.body)
        return
    connection.sendall(head)
    body = memoryview(answer.body)
    for start in range(0, len(body), limits.WRITE_BYTES):
        connection.sendall(body[start : start + limits.WRITE_BYTES])
