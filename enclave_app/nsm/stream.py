"""A security module behind a Unix socket, for **development only**.

Frames of `uint32 big-endian length ‖ CBOR`, both ways. A worker uses it only if its measured
configuration says so, and PCR0 with it; no production verifier accepts the documents.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from blindgate.link.addresses import UnixAddress
from blindgate.link.dial import dial
from blindgate.link.errors import DialError
from enclave_app.nsm.client import NsmClient
from enclave_app.nsm.errors import NsmProtocolError, NsmUnavailable
from enclave_app.nsm.messages import MAX_RESPONSE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

#: Seconds for an exchange; a document takes milliseconds, its certificates' renewal a few more.
TIMEOUT: Final = 5.0
_LENGTH: Final = struct.Struct(">I")


class SocketNsm(NsmClient):
    """The module at a Unix socket: one connection, one exchange at a time.

    Args:
        path: The socket.

    Raises:
        NsmUnavailable: Nobody listens there.
    """

    def __init__(self, path: str) -> None:
        self._address = UnixAddress(path)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = self._connect()

    def __repr__(self) -> str:
        return f"<SocketNsm {self._address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        with self._lock:
            self._drop()

    def exchange(self, request: bytes) -> bytes:
        """One frame each way.

        Raises:
            NsmUnavailable: The connection failed; the next call opens a new one.
            NsmProtocolError: The answer is longer than any answer.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.sendall(_LENGTH.pack(len(request)) + request)
                (length,) = _LENGTH.unpack(_receive(self._connection, _LENGTH.size))
                if length > MAX_RESPONSE:
                    raise NsmProtocolError("the answer is longer than any answer")
                return _receive(self._connection, length)
            except (OSError, NsmProtocolError) as error:
                self._drop()
                if isinstance(error, NsmProtocolError):
                    raise
                raise NsmUnavailable(f"{self._address} failed: {error}") from None

    def _connect(self) -> socket.socket:
        try:
            connection = dial(self._address, TIMEOUT)
        except DialError as error:
            raise NsmUnavailable(str(error)) from None
        connection.settimeout(TIMEOUT)
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _receive(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("ended within an exchange")
        parts += part
    return bytes(parts)
