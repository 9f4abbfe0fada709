"""A connection of the link on the event loop.

The loop tells when the socket is ready and this file does the rest, instead of a transport of
asyncio or uvloop: uvloop has no transport for AF_VSOCK, and here the size of every single
write is ours to choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

from blindgate.link import Address, AnswerHeader, FrameError, FrameLimits, FrameReader, Outcome
from blindgate.link.dial import open_socket
from blindgate.link.frames import RequestHeader
from gateway.pool.backend import Chunks, Exchange
from gateway.pool.errors import StreamLost

#: Single vsock writes of 2 MiB and more collapse to 1 % of the speed; 16 to 256 KiB are best.
MAX_WRITE: Final = 256 * 1024
#: Pieces under this are joined with their neighbours: a client may send byte by byte.
MIN_WRITE: Final = 64 * 1024
#: Length and header, and all of a short answer, come with a single call to the kernel; a sealed
#: one has 64 KiB, which then go where they stay.
_FIRST_READ: Final = 1024
#: A photo may be in the kernel as a whole: who receives it then need not wait for this process to
#: have another turn. AF_VSOCK has a window of its own.
_SEND_BUFFER: Final = 16 * MAX_WRITE


class SocketBackend:
    """Connections over the sockets that `blindgate.link.dial` opens.

    Args:
        dial_timeout: Seconds that connecting may take.
        limits: What an answer may measure.
    """

    def __init__(self, dial_timeout: float, limits: FrameLimits) -> None:
        self._dial_timeout = dial_timeout
        self._limits = limits

    async def open(self, address: Address, on_lost: Callable[[], None]) -> SocketStream:
        """Connect; see `Backend.open`."""
        sock = await open_socket(address, self._dial_timeout)
        return SocketStream(sock, self._limits, on_lost)


class SocketStream:
    """One connected, non-blocking stream socket.

    Args:
        sock: The socket; this object closes it.
        limits: What an answer may measure.
        on_lost: Called once if the connection ends without `close`.
    """

    def __init__(
        self, sock: socket.socket, limits: FrameLimits, on_lost: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(AnswerHeader, limits)
        self._answer: asyncio.Future[tuple[AnswerHeader, bytes | bytearray | memoryview]] | None
        self._answer = None
        self._header: AnswerHeader | None = None
        self._answered_ok = False
        self._writable: asyncio.Future[None] | None = None
        self._closed = False
        self._touched = False
        with contextlib.suppress(OSError):  # macOS refuses more than it allows; Linux takes less
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._loop.add_reader(sock.fileno(), self._receive)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "busy" if self._answer else "idle"
        return f"<SocketStream {state}>"

    async def exchange(self, header: RequestHeader, body: Chunks) -> Exchange:
        """Send a request and wait for its answer; see `Stream.exchange`."""
        if self._closed:
            raise StreamLost("the connection to the enclave is closed", untouched=True)
        if self._answer is not None:
            raise RuntimeError("a connection of the link carries one request at a time")
        answer = self._answer = self._loop.create_future()
        self._touched = False
        try:
            sent_all = await self._send(header, body, answer)
            answer_header, answer_body = await answer
        finally:
            self._answer = None
            # A failure that nobody is left to hear is not worth a line in the log.
            if answer.done() and not answer.cancelled():
                answer.exception()
        if answer_header.request_id != header.request_id:
            self._fail("the enclave answered another request")
            raise StreamLost("the enclave answered another request")
        return Exchange(answer_header, answer_body, reusable=sent_all and not self._closed)

    def close(self) -> None:
        """Give the connection up at once; see `Stream.close`."""
        self._shut("the connection to the enclave was closed")

    async def _send(
        self, header: RequestHeader, body: Chunks, answer: asyncio.Future[object]
    ) -> bool:
        head = header.encode()
        if len(head) + header.body_length <= MIN_WRITE:
            return await self._write(head + b"".join(body), answer)
        for piece in pieces(head, body):
            if not await self._write(piece, answer):
                return False
        return True

    async def _write(
        self, piece: bytes | bytearray | memoryview, answer: asyncio.Future[object]
    ) -> bool:
        """Send all of it; False if an answer, or a failure, came before its end."""
        view = memoryview(piece)
        while view:
            if answer.done():
                return False
            try:
                view = view[self._sock.send(view) :]
                self._touched = True
            except (BlockingIOError, InterruptedError):
                await self._until_writable()
            except OSError:
                # The answer may be here already: an enclave that refuses a request by its
                # header answers and closes without reading the rest.
                self._receive()
                if not answer.done():
                    self._fail("the connection to the enclave broke")
                return False
        return True

    async def _until_writable(self) -> None:
        waiter = self._writable = self._loop.create_future()
        fd = self._sock.fileno()
        self._loop.add_writer(fd, _set, waiter)
        try:
            await waiter
        finally:
            self._writable = None
            if not self._closed:
                self._loop.remove_writer(fd)

    def _receive(self) -> None:
        """Take what the kernel has, until it has no more or an answer is complete."""
        try:
            while not self._closed:
                if self._reader.is_between_frames:
                    self._take_first(self._sock.recv(_FIRST_READ))
                else:
                    # The rest of a longer answer goes straight into the memory it stays in.
                    self._took(self._sock.recv_into(self._reader.buffer()))
                # After a refusal the enclave may have closed: to be known before the next use.
                if self._answered_ok and self._reader.is_between_frames:
                    return
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, FrameError) as error:
            self._fail(str(error))

    def _take_first(self, data: bytes) -> None:
        """Take the beginning of an answer, or all of it; no byte is the end of the connection."""
        if not data:
            self._reader.received(0)
        rest = memoryview(data)
        while rest and not self._closed:
            buffer = self._reader.buffer()
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            self._took(count)

    def _took(self, count: int) -> None:
        event = self._reader.received(count)
        if isinstance(event, AnswerHeader):
            self._header = event
            if not event.body_length:
                self._complete(b"")
        elif event is not None:
            self._complete(event)

    def _complete(self, body: bytes | bytearray | memoryview) -> None:
        header, self._header = self._header, None
        if self._answer is None or self._answer.done() or header is None:
            self._fail("the enclave answered what nobody asked")
            return
        self._answered_ok = header.outcome is Outcome.OK
        self._answer.set_result((header, body))
        if self._writable is not None:
            _set(self._writable)

    def _fail(self, reason: str) -> None:
        if self._shut(reason):
            self._on_lost()

    def _shut(self, reason: str) -> bool:
        if self._closed:
            return False
        self._closed = True
        fd = self._sock.fileno()
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self._sock.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(StreamLost(reason, untouched=not self._touched))
        if self._writable is not None:
            _set(self._writable)
        return True


def pieces(head: bytes, body: Chunks) -> Iterator[bytes | bytearray | memoryview]:
    """A frame in writes of `MIN_WRITE` to `MAX_WRITE` bytes; the last one may be shorter.

    Large chunks are cut without copying; only small ones are joined.
    """
    pending = bytearray(head)
    for chunk in body:
        if len(pending) + len(chunk) <= MIN_WRITE:
            pending += chunk
            continue
        view = memoryview(chunk)
        if pending:
            # The head and a little of what follows travel in one write.
            taken = max(MIN_WRITE - len(pending), 0)
            pending += view[:taken]
            view = view[taken:]
            yield pending
            pending = bytearray()
        while len(view) >= MIN_WRITE:
            yield view[:MAX_WRITE]
            view = view[MAX_WRITE:]
        pending += view
    if pending:
        yield pending


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
