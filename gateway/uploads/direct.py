"""The rest of a body, from the socket straight into the memory that it is sent on from.

An HTTP server hands a body on in pieces, and each one costs two copies, a pause of the socket
and a turn of the event loop: with photos of some megabytes more than all the rest of a request.
Once the head has said how long the body is there is nothing left to parse. So a protocol with
memory of its own takes the connection over until the last byte is there.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What one write towards an enclave takes at most, so nothing is cut or joined on the way.
CHUNK: Final = 256 * 1024


class ClientGone(BlindgateError):
    """The client closed its connection; there is nobody to answer."""


class ChunkStore:
    """Memory of bodies that are gone, for those that come: it is warm, and need not be zeroed.

    Args:
        kept: How many chunks are kept at most: 32 MiB, the budget of an enclave with two threads.
            Less would go back to the allocator and not to the system.
    """

    def __init__(self, kept: int = 128) -> None:
        self._kept = kept
        self._free: list[bytearray] = []

    def __repr__(self) -> str:
        return f"<ChunkStore {len(self._free)} of {self._kept} chunks free>"

    def take(self) -> bytearray:
        """A chunk with whatever was in it."""
        return self._free.pop() if self._free else bytearray(CHUNK)

    def give_back(self, chunks: Iterable[bytearray]) -> None:
        """Nobody looks at these chunks any more."""
        self._free.extend(chunks)
        del self._free[self._kept :]


class Connection(Protocol):
    """The HTTP server's side of a connection, as far as this file needs it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        ...

    def eof_received(self) -> bool | None:
        """The client sends nothing more."""
        ...

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        ...

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        ...

    def rest_is_over(self, *, whole: bool) -> None:
        """The connection is the server's again."""
        ...


class BesideServer(asyncio.BufferedProtocol):
    """Receives in an HTTP server's place; whatever else happens to the connection is the server's.

    Args:
        server: Whose connection it is.
    """

    def __init__(self, server: Connection) -> None:
        self._server = server

    def eof_received(self) -> bool | None:
        """The client sends nothing more."""
        return self._server.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._server.connection_lost(exc)

    def pause_writing(self) -> None:
        """For the server."""
        self._server.pause_writing()

    def resume_writing(self) -> None:
        """For the server."""
        self._server.resume_writing()


class Discard(BesideServer):
    """Throws away whatever a client still sends that has been refused.

    Args:
        server: Whose connection it is.
        count: Bytes that are still to come, if that is known.
        stays: Whether the connection goes back to the server once they have come; otherwise the
            server closes it.

    Attributes:
        ended: Done once they have come, or the client has closed its side.
    """

    #: One for all connections: nobody reads it.
    _nowhere: Final = memoryview(bytearray(CHUNK))

    def __init__(self, server: Connection, count: int | None, *, stays: bool = False) -> None:
        super().__init__(server)
        self._left = math.inf if count is None else count
        self._stays = stays
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer_updated(0)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as much as there is
        """Where to receive next; nothing of what the client may send after this body."""
        return self._nowhere[: int(self._left)] if 0 < self._left < CHUNK else self._nowhere

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come, and are gone."""
        self._left -= nbytes
        if self._left <= 0 and not self.ended.done():
            self._end()
            if self._stays:
                self._server.rest_is_over(whole=True)

    def eof_received(self) -> bool | None:
        """The client sends nothing more."""
        self._end()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._end()
        super().connection_lost(exc)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class RestOfBody(BesideServer):
    """Receives a known number of bytes, then gives the connection back.

    Args:
        server: Whose connection it is.
        count: Bytes that are still to come; above zero.
        store: Where memory comes from.

    Attributes:
        received: Bytes so far.
        complete: Done once every byte is there, or the client is gone.
    """

    def __init__(self, server: Connection, count: int, store: ChunkStore) -> None:
        super().__init__(server)
        self._count = count
        self._store = store
        self._chunks: list[bytearray] = []
        self._over = False
        self.received = 0
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<RestOfBody {self.received} of {self._count} bytes>"

    def views(self) -> list[memoryview]:
        """What has been received."""
        left = self.received
        found = []
        for chunk in self._chunks:
            found.append(memoryview(chunk)[:left])
            left -= len(found[-1])
        return found

    def release(self) -> None:
        """Give the memory back; whoever had a view of it must be done with it."""
        self._store.give_back(self._chunks)
        self._chunks = []

    def leave(self) -> None:
        """Give the connection back, whether or not everything is there."""
        if not self._over:
            self._over = True
            self._server.rest_is_over(whole=self.received == self._count)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - our chunks decide
        """Where to receive next; never longer than what is still to come."""
        at = self.received % CHUNK
        if at == 0 and self.received == len(self._chunks) * CHUNK:
            self._chunks.append(self._store.take())
        return memoryview(self._chunks[-1])[at : at + self._count - self.received]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self.received += nbytes
        if self.received == self._count:
            self.leave()
            if not self.complete.done():
                self.complete.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._over = True
        self._server.connection_lost(exc)
        if not self.complete.done():
            self.complete.set_exception(ClientGone("the client closed the connection"))
            self.complete.exception()  # it may be that nobody waits any more
