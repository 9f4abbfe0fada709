"""What our connections do that uvicorn's do not.

They must say what they want within some seconds: uvicorn waits for a request's head for ever, and
a few thousand connections that send it byte by byte, or nothing, would take every file
descriptor. Bodies have limits of their own (`gateway.uploads`), and so have connections between
two requests (uvicorn's keep-alive).

And they give the rest of a body to whoever has memory for it (`gateway.uploads.direct`). So they
read little at a time: what has come with the head is copied three times before a route sees it,
and should be the head alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.uploads.direct import BesideServer, ChunkStore, Discard, RestOfBody

#: Most heads fit, and nearly nothing of a photo does.
_READ: Final = 2048
#: The rest of a refused body that is read to its end: a client that is to come back would
#: otherwise need another connection, with another handshake of TLS.
_SHORT: Final = 1024 * 1024


class _Reading(BesideServer):
    """Reads for an HTTP server that takes bytes: no more at once than one buffer of ours holds.

    Args:
        server: Whose connection it is.
    """

    #: One for all connections: what comes into it is copied before anybody else reads.
    _buffer: Final = memoryview(bytearray(_READ))

    def __init__(self, server: PatientProtocol) -> None:
        super().__init__(server)
        self._take = server.data_received

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - ours decides
        """Where to receive next."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._take(bytes(self._buffer[:nbytes]))


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request's head is not there in time; gives bodies away.

    State                      begins with                     ends with
    waiting for a head         the connection, or the first    `on_headers_complete`, or the time:
                               byte of a further request       the connection is closed
    a request is under way     `on_headers_complete`           the next request, or its keep-alive
    """

    #: Seconds; see `patient_protocol`.
    head_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._tell: list[Callable[[], None]] = []
        self._reading = _Reading(self)
        transport.set_protocol(self._reading)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """Wait for the rest of this head."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()
        # What comes next is the application's to receive, which begins only when this has returned.
        self.flow.pause_reading()
        # For `IncomingBody`, which knows what the head says of the body's length.
        self.scope["state"]["give_rest"] = self.give_rest
        # For answers that come before the end of the body.
        self.scope["state"]["outlive_rest"] = self.outlive_rest
        self.scope["state"]["discard_rest"] = self.discard_rest
        # For `unless_gone`.
        self.scope["state"]["when_gone"] = self.when_gone

    def give_rest(self, count: int, store: ChunkStore) -> RestOfBody | None:
        """Have the next bytes of the current request's body received without this server.

        Args:
            count: Every byte of it that the application does not have yet.
            store: Where to put them.

        Returns:
            What receives them, or None if some are here already.
        """
        if self.cycle.body or not self.cycle.more_body or self.transport.is_closing():
            return None
        rest = RestOfBody(self, count, store)
        self._receive_with(rest)
        return rest

    def outlive_rest(self) -> bool:
        """Throw the rest of a short body away, so that the connection stays for other requests.

        Nothing of the body may have been taken. The answer need not wait for it: if the rest does
        not come within uvicorn's keep-alive, the connection is closed as if nothing had.

        Returns:
            False if it is not short, or if the client may never send it (`Expect`); the
            connection must then be closed.
        """
        rest = self._rest()
        waits = self.cycle.waiting_for_100_continue
        if rest is None or rest > _SHORT or waits or not self.cycle.keep_alive:
            return False
        if rest > 0:
            self._receive_with(Discard(self, rest, stays=True))
        return True

    def discard_rest(self) -> asyncio.Future[None]:
        """Throw away whatever still comes, for a connection that is about to be closed.

        Nothing of the body may have been taken, if its length is known.

        Returns:
            What is done once all of it has come, or the client has closed its side.
        """
        discard = Discard(self, self._rest())
        if self.transport.is_closing():
            discard.eof_received()
        else:
            self._receive_with(discard)
        return discard.ended

    def _rest(self) -> int | None:
        """Bytes of the body that have not come, if its length is known."""
        if not self.cycle.more_body:
            return 0  # what comes next is another request
        declared = next((int(v) for n, v in self.headers if n == b"content-length"), None)
        return None if declared is None else declared - len(self.cycle.body)

    def _receive_with(self, other: BesideServer) -> None:
        self.transport.set_protocol(other)
        self.flow.resume_reading()

    def when_gone(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have somebody told that the client went away, while a request is under way.

        Its body must have been received.

        Returns:
            What ends that.
        """
        self._tell.append(tell)
        if self.cycle.disconnected or self.transport.is_closing():
            self.loop.call_soon(self._gone)
        else:
            self.flow.resume_reading()  # otherwise nobody would notice
        return partial(self._forget, tell)

    def _forget(self, tell: Callable[[], None]) -> None:
        if tell in self._tell:
            self._tell.remove(tell)

    def _gone(self) -> None:
        while self._tell:
            self._tell.pop()()

    def rest_is_over(self, *, whole: bool) -> None:
        """The connection is this server's again."""
        self.transport.set_protocol(self._reading)
        if not whole:
            self.flow.pause_reading()  # until the application asks for more
        else:
            # The old parser waits for a body that went elsewhere; what comes is a new request.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._gone()

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        # No answer: there is no request yet that it could belong to.
        self.transport.abort()


def patient_protocol(head_seconds: float) -> type[PatientProtocol]:
    """The protocol with another patience, as a class for uvicorn."""
    return type("PatientProtocol", (PatientProtocol,), {"head_seconds": head_seconds})
