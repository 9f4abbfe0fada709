"""Requests that arrive at a rate of their own, whatever becomes of the earlier ones.

As `bench.load.generator`, one thread on epoll; but nobody waits for an answer before the next
request starts, as is the case with many independent clients.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.load.wire import Line, Message

_READ: Final = 256 * 1024
#: Open connections at most: beyond, clients would run out of ports, not the server of places.
MAX_CONNECTIONS: Final = 8000


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    Attributes:
        at: When its end came, in seconds since the first request.
        seconds: From its first byte sent to the last byte of its answer.
        status: Its status; 0 if the connection broke, -1 if nothing came in time.
        head: The answer's head in lower case.
        body: Its body.
    """

    at: float
    seconds: float
    status: int
    head: bytes
    body: bytes


def arrive(
    port: int, messages: Sequence[Message], rate: float, seconds: float, patience: float
) -> list[Answer]:
    """Send messages in turn, `rate` of them a second, and take what comes.

    Args:
        port: On 127.0.0.1.
        messages: What to send, over and over.
        rate: Requests a second.
        seconds: For how long.
        patience: Seconds that any request may take.

    Returns:
        One answer for each request, in the order of their ends.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    arrivals = _Arrivals(port, patience)
    try:
        return arrivals.run(messages, rate, seconds)
    finally:
        arrivals.close()


class _Arrivals:
    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        #: With a request on them, by file descriptor.
        self._lines: dict[int, Line] = {}
        #: Open, without one.
        self._idle: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._answers: list[Answer] = []
        self._began = 0.0

    def close(self) -> None:
        for sock in [*self._idle.values(), *(line.sock for line in self._lines.values())]:
            sock.close()
        self._epoll.close()

    def run(self, messages: Sequence[Message], rate: float, seconds: float) -> list[Answer]:
        self._began = time.perf_counter()
        sent, swept = 0, self._began
        while True:
            now = time.perf_counter()
            due = int(min(now - self._began, seconds) * rate)
            while sent < due and len(self._lines) < MAX_CONNECTIONS:
                self._start(messages[sent % len(messages)])
                sent += 1
            if now - self._began >= seconds and not self._lines:
                return self._answers
            if now - swept > 0.5:
                self._sweep(now)
                swept = now
            for fd, event in self._epoll.poll(0.5 / rate):
                self._happened(fd, event)

    def _start(self, message: Message) -> None:
        pieces = [memoryview(message.head), memoryview(message.body)]
        started = time.perf_counter()
        if (usable := self._usable()) is not None:
            line = self._lines[usable.fileno()] = Line(usable, pieces, started)
            line.send(self._epoll)
            return
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self._port))
        self._lines[sock.fileno()] = Line(sock, pieces, started, waits_to_send=True)
        self._epoll.register(sock, select.EPOLLIN | select.EPOLLOUT)

    def _usable(self) -> socket.socket | None:
        """The connection used last, unless the server has closed it meanwhile."""
        while self._idle:
            _, sock = self._idle.popitem()
            with contextlib.suppress(BlockingIOError):
                with contextlib.suppress(ConnectionError):
                    sock.recv(1)
                sock.close()
                continue
            return sock
        return None

    def _happened(self, fd: int, event: int) -> None:
        line = self._lines.get(fd)
        if line is None:
            if (sock := self._idle.pop(fd, None)) is not None:  # the server has closed it
                sock.close()
            return
        if event & select.EPOLLOUT:
            line.send(self._epoll)
        if event & ~select.EPOLLOUT:
            self._receive(line)

    def _receive(self, line: Line) -> None:
        try:
            data = line.sock.recv(_READ)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._end(line, 0, b"")
        elif (body := line.reader.take(data)) is not None:
            self._end(line, line.reader.status, body)

    def _end(self, line: Line, status: int, body: bytes) -> None:
        now = time.perf_counter()
        fd = line.sock.fileno()
        del self._lines[fd]
        if status > 0 and line.reader.stays_open and not line.pieces:
            self._idle[fd] = line.sock
        else:
            line.sock.close()
        taken = now - line.started
        self._answers.append(Answer(now - self._began, taken, status, line.reader.head, body))

    def _sweep(self, now: float) -> None:
        for line in list(self._lines.values()):
            if now - line.started > self._patience:
                self._end(line, -1, b"")
