"""The dev NSM behind a stream socket: frames of `uint32 big-endian length ‖ CBOR`, both ways."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from blindgate.link.dial import listen
from devstack.nsm.protocol import MAX_REQUEST

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from blindgate.link.addresses import Address
    from devstack.nsm.protocol import DevNsm

_LENGTH: Final = struct.Struct(">I")
#: A frame beyond this is not drained to be answered InputTooLarge; the connection ends.
_MAX_DRAINED: Final = 16 * MAX_REQUEST


class NsmServer:
    """Serves one enclave's NSM; a context manager.

    Args:
        nsm: Whose requests are answered.
        address: Where to listen, usually `unix:///…/nsm.sock`.

    Raises:
        DialError: The address cannot be listened at.
    """

    def __init__(self, nsm: DevNsm, address: Address) -> None:
        self._nsm = nsm
        self._listener = listen(address)
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        self._start(self.serve_forever)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def serve_forever(self) -> None:
        """Accept and answer until `close`."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                raise
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
            self._start(self._answer, connection)

    def close(self) -> None:
        """Stop listening, end all connections and wait for their threads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            connections = list(self._connections)
        for sock in (self._listener, *connections):
            # Unblocks accept and recv in their threads, which a close alone does not.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                while (header := _receive(connection, _LENGTH.size)) is not None:
                    (length,) = _LENGTH.unpack(header)
                    if length > _MAX_DRAINED:
                        return
                    request = _receive(connection, length)
                    if request is None:
                        return
                    answer = self._nsm.handle(request)
                    connection.sendall(_LENGTH.pack(len(answer)) + answer)
        except OSError:
            return
        finally:
            with self._lock:
                self._connections.discard(connection)


def serve(nsm: DevNsm, address: Address) -> None:
    """Answer at `address` until interrupted."""
    server = NsmServer(nsm, address)
    try:
        server.serve_forever()
    finally:
        server.close()


def _receive(connection: socket.socket, count: int) -> bytes | None:
    """Exactly `count` bytes, or None if the peer ended first."""
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
