"""The sockets of the worker: frames in, frames out, one thread a connection.

The threads here only wait, receive and send; what burns CPU goes through `Compute`. Blocking
`recv_into` on the frame reader's own memory costs a half to a quarter of what an asyncio
StreamReader does.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blindgate.link import (
    AnswerHeader,
    BodyTooLarge,
    FrameError,
    FrameLimits,
    FrameReader,
    Outcome,
    RequestHeader,
    RequestRefused,
)
from blindgate.link.frames import Body, Params
from enclave_app import limits
from enclave_app.link_server.buffer_pool import BodyMemory
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded
from enclave_app.scheduling.memory_budget import MemoryBudget

log = logging.getLogger("blindgate.worker")

#: What `accept` fails with although the listener is as good as before: the process or the system
#: lacks a descriptor or memory, or one connection ended before it was accepted. The network errors
#: are those that accept(2) says to treat like EAGAIN.
_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
        # Only Linux has it.
        getattr(errno, "ENONET", errno.EPROTO),
    }
)
#: `struct timeval` of socket(7).
_TIMEVAL: Final = struct.Struct("@ll")
#: Half of what an AF_VSOCK socket holds by default: see `_most_at_once`.
_VSOCK_PIECE: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the link.

    Attributes:
        header: What the gateway says of it.
        body: All of its body, in memory of its own, to write to as well.
        deadline: When nobody waits for the answer any more.
        wanted: Whether the gateway still keeps the connection open.
        release: Gives the body's memory back before the end: what was in it has been opened,
            and is elsewhere.
        others: How many further requests have come whose answers have not left.
    """

    header: RequestHeader
    body: Body
    deadline: Deadline
    wanted: Callable[[], bool]
    release: Callable[[], None] = lambda: None
    others: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    outcome: Outcome
    body: bytes | bytearray = b""
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
        self._memory = BodyMemory(limits.KEPT_BODY_BYTES)
        self._most = connections
        self._open: set[socket.socket] = set()
        self._in_flight = 0
        self._changed = threading.Condition()
        self._closed = False
        self._closing = threading.Event()

    def __repr__(self) -> str:
        return f"<LinkServer {len(self._open)} connections, {self._in_flight} in flight>"

    def serve_forever(self) -> None:
        """Accept connections until `close`.

        A connection that the system has no descriptor, memory or thread for costs a pause.

        Raises:
            OSError: The listener is of no more use.
        """
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._closed:
                    return
                if error.errno not in _PASSING:
                    raise
                self._pause(error)
                continue
            with self._changed:
                if self._closed or len(self._open) >= self._most:
                    connection.close()
                    continue
                self._open.add(connection)
            try:
                threading.Thread(
                    target=self._serve, args=(connection,), name="connection", daemon=True
                ).start()
            except (RuntimeError, MemoryError) as error:  # no more threads, or no stack for one
                with self._changed:
                    self._open.discard(connection)
                connection.close()
                self._pause(error)

    def _pause(self, error: Exception) -> None:
        log.warning("no connection is accepted for a moment: %s", error)
        self._closing.wait(limits.ACCEPT_PAUSE_SECONDS)

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no request is in hand; False if that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, seconds)

    def close(self) -> None:
        """Stop accepting and end every connection."""
        with self._changed:
            self._closed = True
            self._closing.set()
            connections = list(self._open)
        # shutdown, since close alone does not wake a thread that is blocked in the socket.
        for sock in [self._listener, *connections]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                connection = _Connection(sock, self._limits)
                try:
                    while self._serve_one(connection):
                        pass
                except RequestRefused as refused:
                    # Its body, if there is one, stays unread: the connection ends with this.
                    too_large = isinstance(refused, BodyTooLarge)
                    outcome = Outcome.BODY_TOO_LARGE if too_large else Outcome.INVALID_REQUEST
                    connection.send(refused.request_id, Answer(outcome))
                    raise
        except FrameError as error:
            log.warning("closing a connection: %s", error)
        except OSError:
            log.info("a connection broke")
        finally:
            with self._changed:
                self._open.discard(sock)

    def _serve_one(self, connection: _Connection) -> bool:
        """Answer one request; False when the connection has come to its end."""
        header = connection.read_header()
        if header is None:
            return False
        deadline = Deadline(header.deadline_ms / 1000)
        with self._changed:
            self._in_flight += 1
        try:
            try:
                needed = limits.COPIES_OF_A_BODY * header.body_length
                with self._uploads.hold(needed, deadline):
                    answer = self._receive_and_answer(connection, header, deadline)
            except (Overloaded, MemoryError):
                answer = Answer(Outcome.OVERLOADED)
            except DeadlineExceeded:
                answer = Answer(Outcome.DEADLINE_EXCEEDED)
            connection.send(header.request_id, answer)
        finally:
            with self._changed:
                self._in_flight -= 1
                if not self._in_flight:
                    self._changed.notify_all()
        # A body that was refused unread stays in the stream, so the connection is of no more use.
        return connection.is_between_frames

    def _receive_and_answer(
        self, connection: _Connection, header: RequestHeader, deadline: Deadline
    ) -> Answer:
        if not header.body_length:
            return self._answer(
                Request(header, bytearray(), deadline, connection.is_open, others=self._others)
            )
        lease = self._memory.lease(header.body_length)
        try:
            connection.read_body(lease.view)
            return self._answer(
                Request(header, lease.view, deadline, connection.is_open, lease.end, self._others)
            )
        finally:
            lease.end()

    def _others(self) -> int:
        """Requests in hand, but for the one that asks."""
        return self._in_flight - 1

    def _answer(self, request: Request) -> Answer:
        try:
            return self._handle(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the worker
            # The type alone: a message may quote what was decrypted.
            log.error("internal error: %s", type(error).__name__)
            return Answer(Outcome.INTERNAL_ERROR)


class _Connection:
    """One connection of the gateway: blocking reads and writes that a stalled peer ends.

    Args:
        sock: A connected stream socket.
        frame_limits: What is taken at most.
    """

    def __init__(self, sock: socket.socket, frame_limits: FrameLimits) -> None:
        self._sock = sock
        self._reader = FrameReader(RequestHeader, frame_limits)
        self._most_at_once = _most_at_once(sock)
        _give_up_after(sock, limits.STALL_SECONDS)

    @property
    def is_between_frames(self) -> bool:
        """Whether all of a request has been read."""
        return self._reader.is_between_frames

    def is_open(self) -> bool:
        """Whether the gateway still keeps the connection open."""
        arrived = select.poll()
        try:
            arrived.register(self._sock, select.POLLIN)
            return not arrived.poll(0) or self._sock.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def read_header(self) -> RequestHeader | None:
        """Wait for the next request, for ever; None when there will be none.

        Raises:
            FrameError: What came is no request.
            OSError: The connection broke, or stalled inside a header.
        """
        reader = self._reader
        while True:
            try:
                count = self._sock.recv_into(reader.buffer())
            except BlockingIOError:
                if reader.is_between_frames:
                    continue  # idle, and welcome to stay so
                raise
            if count == 0 and reader.is_between_frames:
                return None
            event = reader.received(count)
            if isinstance(event, RequestHeader):
                return event

    def read_body(self, memory: memoryview) -> None:
        """Receive the body that a header announced.

        Args:
            memory: Of exactly its length, above zero.

        Raises:
            FrameError: The connection ended inside it.
            OSError: The connection broke, or nothing came for too long.
        """
        reader = self._reader
        reader.use_memory(memory)
        while not reader.is_between_frames:
            # One call for the whole body, where it can be: a wake-up for each of its pieces would
            # take the processor from what computes. It comes back early if time is up.
            room = reader.buffer()[: self._most_at_once]
            reader.received(self._sock.recv_into(room, 0, socket.MSG_WAITALL))

    def send(self, request_id: bytes, answer: Answer) -> None:
        """Answer one request.

        Raises:
            OSError: The connection broke, or the gateway took nothing for too long.
        """
        head = AnswerHeader(
            request_id, answer.outcome, len(answer.body), answer.params or {}
        ).encode()
        body = memoryview(answer.body)
        # Both in one call, without a copy to join them.
        sent = self._sock.sendmsg((head, body[: limits.WRITE_BYTES]))
        if sent < len(head):
            self._sock.sendall(head[sent:])
            sent = len(head)
        for start in range(sent - len(head), len(body), limits.WRITE_BYTES):
            self._sock.sendall(body[start : start + limits.WRITE_BYTES])


def _most_at_once(connection: socket.socket) -> int | None:
    """How much one call can wait for; None for as much as one likes.

    AF_VSOCK refuses to wait for more than its queue holds, with ENOMEM (Linux
    `net/vmw_vsock/af_vsock.c`, `stream_rcvhiwat`); that is 256 KiB unless it was changed.
    """
    return _VSOCK_PIECE if connection.family == getattr(socket, "AF_VSOCK", None) else None


def _give_up_after(connection: socket.socket, seconds: float) -> None:
    """Have the kernel end every read and every write after so long without progress.

    A time-out of Python's makes the socket non-blocking, for which there is no MSG_WAITALL.
    """
    whole = int(seconds)
    timeval = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
    # For AF_VSOCK Python takes options as 64-bit integers alone, so a second object for the same
    # socket passes for another family.
    same = os.dup(connection.fileno())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=same) as plain:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            plain.setsockopt(socket.SOL_SOCKET, option, timeval)
