"""What our connections do that uvicorn's do not.

They must say what they want within some seconds: uvicorn waits for a request's head for ever, and
a few thousand connections that send it byte by byte, or nothing, would take every file
descriptor. Bodies have limits of their own (`gateway.uploads`), and so have connections between
two requests (uvicorn's keep-alive).

And they give the rest of a body to whoever has memory for it (`gateway.uploads.direct`).
"""

from __future__ import annotations

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.uploads.direct import ChunkStore, RestOfBody


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
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """Wait for the rest of this head."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()
        # For `IncomingBody`, which knows what the head says of the body's length.
        self.scope["state"]["give_rest"] = self.give_rest

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
        # A transport notices how its protocol wants to receive when it starts to read.
        self.flow.pause_reading()
        self.transport.set_protocol(rest)
        self.flow.resume_reading()
        return rest

    def rest_is_over(self, *, whole: bool) -> None:
        """The connection is this server's again; it reads on when the application asks it to."""
        self.flow.pause_reading()
        self.transport.set_protocol(self)
        if whole:
            # The old parser waits for a body that went elsewhere; what comes is a new request.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

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
