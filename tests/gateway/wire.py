"""HTTP/1.1 byte by byte, for requests that no HTTP library would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.gateway.conftest import Served

#: Seconds after which a response does not come any more.
PATIENCE = 20


@dataclass(frozen=True)
class Reply:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def to(cls, served: Served) -> AsyncIterator[Wire]:
        wire = cls(*await asyncio.open_connection("127.0.0.1", served.port))
        try:
            yield wire
        finally:
            wire.writer.close()
            with suppress(ConnectionError):
                await wire.writer.wait_closed()

    async def send(self, *pieces: bytes) -> None:
        """Send pieces that arrive one after the other."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.01)

    def abort(self) -> None:
        """Leave without another word."""
        self.writer.transport.abort()

    async def response(self, method: str = "POST") -> Reply:
        """Read one response with a Content-Length; interim ones are skipped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await self.reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                status = int(lines[0].split()[1])
                if status >= 200:
                    break
            pairs = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
            return Reply(status, headers, await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """Everything until the gateway closes the connection."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""


def head(path: str, *fields: str, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    """A head with a Host, and with fields."""
    return "\r\n".join([f"{method} {path} {version}", "Host: gateway", *fields, "", ""]).encode()


def chunked(body: bytes, size: int = 10) -> bytes:
    """A body in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
