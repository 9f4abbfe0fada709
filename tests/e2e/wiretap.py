"""Relays that remember every byte, to be put between any two parts of the stack."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable

from blindgate.link import UnixAddress
from blindgate.link.dial import dial, listen


class Wiretap:
    """Forwards stream connections and keeps what passes, in both directions together.

    Args:
        listener: Where one side connects.
        connect: Connects to the other side.
    """

    def __init__(self, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
        self.listener = listener
        self._connect = connect
        self._chunks: list[bytes] = []
        self._sockets: list[socket.socket] = [listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @classmethod
    def unix(cls, near: str, far: str) -> Wiretap:
        """Between two Unix socket paths."""
        return cls(listen(UnixAddress(near)), lambda: dial(UnixAddress(far), 5))

    @classmethod
    def tcp(cls, far_port: int) -> Wiretap:
        """In front of a TCP port of this machine, on a free port."""
        listener = socket.create_server(("127.0.0.1", 0))
        return cls(listener, lambda: socket.create_connection(("127.0.0.1", far_port)))

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return int(self.listener.getsockname()[1])

    @property
    def heard(self) -> bytes:
        """Everything so far, connections and directions mixed, each chunk whole."""
        return b"\n".join(self._chunks)

    def close(self) -> None:
        """End every connection."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = self._connect()
            except Exception:  # noqa: BLE001 - the other side is not there yet: nor are we
                near.close()
                continue
            self._sockets += [near, far]
            self._start(self._copy, near, far)
            self._start(self._copy, far, near)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        # One direction is one recording, so that nothing can hide across two reads.
        recording = bytearray()
        place = len(self._chunks)
        self._chunks.append(b"")
        with contextlib.suppress(OSError):
            while data := source.recv(256 * 1024):
                recording += data
                self._chunks[place] = bytes(recording)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def disguises(secret: bytes) -> list[bytes]:
    """The forms in which a run of bytes may turn up: raw, hexadecimal, base64 at any offset."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        # The characters that do not depend on what stands before or after.
        encoded = base64.b64encode(bytes(shift) + secret)
        inner = encoded[4 if shift else 0 : -4]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return found
