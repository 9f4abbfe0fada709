"""Two proxies that can be told to fail: one before KMS, one between gateway and worker."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

_CHUNK = 64 * 1024
_THROTTLED = b'{"__type":"ThrottlingException","message":"Rate exceeded"}'
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n"
    b"content-length: %d\r\n\r\n" % len(_THROTTLED)
) + _THROTTLED


class Kms(Enum):
    """How KMS does."""

    WELL = auto()
    DOWN = auto()
    SLOW = auto()
    THROTTLING = auto()


class KmsFaults:
    """Stands before the dev KMS, with its certificate, and answers as badly as it is told.

    Args:
        tls: The dev KMS's folder of certificates.
        port: Where the dev KMS listens.
    """

    delay = 20.0

    def __init__(self, tls: Path, port: int) -> None:
        self._tls = tls
        self._remote = port
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.mode = Kms.WELL
        self.calls = 0

    @contextmanager
    def doing(self, mode: Kms) -> Iterator[None]:
        """Have KMS do so for the time of the block."""
        self.mode = mode
        try:
            yield
        finally:
            self.mode = Kms.WELL

    async def start(self) -> int:
        """Listen; returns the port."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._tls / "server.pem", self._tls / "server.key")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.mode is not Kms.DOWN:
                await self._calls(reader, writer)
        except (OSError, EOFError, ssl.SSLError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _calls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trusting = ssl.create_default_context(cafile=str(self._tls / "ca.pem"))
        while True:
            request = await _message(reader)
            self.calls += 1
            if self.mode is Kms.DOWN:
                return
            if self.mode is Kms.SLOW:
                await asyncio.sleep(self.delay)
            if self.mode is Kms.THROTTLING:
                writer.write(_ANSWER)
                continue
            far, out = await asyncio.open_connection("127.0.0.1", self._remote, ssl=trusting)
            out.write(request)
            answer = await _message(far)
            out.transport.abort()
            writer.write(answer)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return head + await reader.readexactly(lengths[0] if lengths else 0)


class LinkFaults:
    """Stands between a gateway and a worker, and can lose everything without saying so.

    Args:
        path: Its own Unix socket.
        worker: The worker's.
    """

    def __init__(self, path: Path, worker: Path) -> None:
        self._path = path
        self._worker = worker
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        #: The number of the first connection that still works.
        self._alive_from = 0
        self.accepted = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    def lose_connections(self) -> None:
        """Every connection that is open now stays open, and nothing comes through any more."""
        self._alive_from = self.accepted

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        number = self.accepted
        self.accepted += 1
        far, out = await asyncio.open_unix_connection(str(self._worker))
        self._open |= {back, out}
        await asyncio.gather(self._copy(number, near, out), self._copy(number, far, back))
        for writer in (back, out):
            self._open.discard(writer)
            writer.transport.abort()

    async def _copy(
        self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                if number >= self._alive_from:
                    target.write(data)
                    await target.drain()
        if number >= self._alive_from:
            with contextlib.suppress(OSError):
                target.close()
