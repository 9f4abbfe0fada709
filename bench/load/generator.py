"""Sends requests that are ready, a fixed number at a time, and times the answers.

Everything shares two cores with the servers under test, so this is one thread on epoll with
nothing between it and the sockets. Sealing, and opening what came back, happens before and
after.
"""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.load.wire import AnswerReader, Line, Message

_READ: Final = 256 * 1024
#: A server that says nothing for so long hangs.
_SILENCE_SECONDS: Final = 60.0
OVERLOADED: Final = 503


@dataclass(slots=True)
class Outcome:
    """What came of one request.

    Attributes:
        number: Which request.
        status: Its status; 0 if the connection broke.
        seconds: From its first byte sent to the last byte of its answer.
        body: The answer's body.
    """

    number: int
    status: int
    seconds: float
    body: bytes


@dataclass(slots=True)
class Run:
    """One run of the generator.

    Attributes:
        outcomes: In the order of their ends.
        seconds: From the first request's start to the last answer's end.
        cpu: Seconds of this process's CPU.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


@dataclass(slots=True, eq=False)
class _Line(Line):
    """One connection and the request on it, which has a number."""

    number: int = -1


def run(
    port: int,
    messages: Sequence[Message],
    concurrency: int,
    *,
    comes_back: bool = False,
    arrival: float = 0.0,
) -> Run:
    """Send every message once, `concurrency` of them at any time.

    Args:
        port: On 127.0.0.1.
        messages: What to send; each gets one outcome for each time that it was sent.
        concurrency: Connections, with one request on each.
        comes_back: Whether a message that was refused with 503 is sent once more, after the
            seconds of Retry-After. Otherwise a refusal is the message's end.
        arrival: Seconds over which the connections send their first request; all at once if 0.

    Raises:
        TimeoutError: Nothing came for a minute.
    """
    generator = _Generator(port, messages, comes_back, arrival)
    try:
        return generator.run(min(concurrency, len(messages)))
    finally:
        generator.close()


class _Generator:
    def __init__(
        self, port: int, messages: Sequence[Message], comes_back: bool, arrival: float
    ) -> None:
        self._port = port
        self._messages = messages
        self._comes_back = comes_back
        self._arrival = arrival
        self._todo = deque(range(len(messages)))
        #: A heap: when whom it is to send again.
        self._resting: list[tuple[float, int, _Line]] = []
        self._lines: dict[int, _Line] = {}
        self._epoll = select.epoll()
        self._run = Run()

    def close(self) -> None:
        for line in self._lines.values():
            line.sock.close()
        self._epoll.close()

    def run(self, concurrency: int) -> Run:
        lines = [self._open() for _ in range(concurrency)]
        cpu, started = time.process_time(), time.perf_counter()
        for number, line in enumerate(lines):
            if self._arrival:
                self._rest(line, started + number * self._arrival / concurrency)
            else:
                self._next(line)
        busy = concurrency
        while busy:
            events = self._epoll.poll(self._patience())
            if not events and not self._resting:
                raise TimeoutError(f"no answer for {_SILENCE_SECONDS:.0f} s")
            for fd, event in events:
                line = self._lines[fd]
                if event & select.EPOLLOUT:
                    line.send(self._epoll)
                if event & ~select.EPOLLOUT:
                    busy -= self._receive(line)
            while self._resting and self._resting[0][0] <= time.perf_counter():
                busy -= not self._next(heapq.heappop(self._resting)[2])
        self._run.seconds = time.perf_counter() - started
        self._run.cpu = time.process_time() - cpu
        return self._run

    def _rest(self, line: _Line, until: float) -> None:
        heapq.heappush(self._resting, (until, id(line), line))

    def _patience(self) -> float:
        if self._resting:
            return max(0.0, self._resting[0][0] - time.perf_counter())
        return _SILENCE_SECONDS

    def _open(self) -> _Line:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        line = self._lines[sock.fileno()] = _Line(sock)
        self._epoll.register(sock, select.EPOLLIN)
        return line

    def _next(self, line: _Line) -> bool:
        """Send the next message on a line, or close it and return False if there is none."""
        if not self._todo:
            # Kept open, it would some day be closed by the server, and look like a lost answer.
            self._hang_up(line)
            return False
        line.number = self._todo.popleft()
        message = self._messages[line.number]
        line.pieces = [memoryview(message.head), memoryview(message.body)]
        line.reader = AnswerReader()
        line.started = time.perf_counter()
        line.send(self._epoll)
        return True

    def _receive(self, line: _Line) -> bool:
        """Take what is there; True if the line has nothing more to do."""
        data = b""
        with contextlib.suppress(ConnectionError):
            data = line.sock.recv(_READ)
        body = line.reader.take(data) if data else b""
        if body is None:
            return False
        now = time.perf_counter()
        reader = line.reader
        status = reader.status if data else 0
        self._run.outcomes.append(Outcome(line.number, status, now - line.started, body))
        unfinished = bool(line.pieces)
        if not data or unfinished or not line.reader.stays_open:
            line = self._reopen(line)
        if status == OVERLOADED and self._comes_back:
            self._todo.append(line.number)
            self._rest(line, now + reader.retry_after)
            return False
        return not self._next(line)

    def _reopen(self, line: _Line) -> _Line:
        self._hang_up(line)
        fresh = self._open()
        fresh.number = line.number
        return fresh

    def _hang_up(self, line: _Line) -> None:
        self._epoll.unregister(line.sock)
        del self._lines[line.sock.fileno()]
        line.sock.close()
