"""QEMU's side of vhost-user and the guest's side of a virtqueue, in a few lines."""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
from types import TracebackType
from typing import Self

GUEST, USER = 0x4000_0000, 0x7F00_0000_0000
SIZE = 64 * 1024
DESCRIPTORS, AVAILABLE, USED, DATA = 0x0000, 0x1000, 0x2000, 0x4000
QUEUE = 8
(NEXT, WRITE) = (1, 2)
VERSION, NEED_REPLY = 1, 8


class FakeQemu:
    """A machine with 64 KiB of memory and one queue."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, SIZE)
        self.memory = mmap.mmap(self.fd, SIZE)
        self.kick = os.eventfd(0)
        self.masked = os.eventfd(0)
        self.call = os.eventfd(0)
        self.available = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.memory.close()
        for fd in (self.fd, self.kick, self.masked, self.call):
            os.close(fd)

    def send(self, request: int, payload: bytes = b"", *fds: int, flags: int = VERSION) -> None:
        message = struct.pack("<III", request, flags, len(payload)) + payload
        socket.send_fds(self.connection, [message], fds)

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        self.send(request, payload)
        _, _, length = struct.unpack("<III", self.connection.recv(12))
        return self.connection.recv(length)

    def acknowledged(self, request: int, payload: bytes, *fds: int) -> bool:
        self.send(request, payload, *fds, flags=VERSION | NEED_REPLY)
        return self.connection.recv(64)[12:] == bytes(8)

    def begin(self) -> None:
        """Share the memory and name the queue, as far as the kick."""
        region = struct.pack("<IIQQQQ", 1, 0, GUEST, SIZE, USER, 0)
        self.send(5, region, self.fd)
        self.send(8, struct.pack("<II", 0, QUEUE))
        self.send(10, struct.pack("<II", 0, 0))
        places = (USER + DESCRIPTORS, USER + USED, USER + AVAILABLE, 0)
        self.send(9, struct.pack("<IIQQQQ", 0, 0, *places))
        self.send(12, struct.pack("<Q", 0), self.kick)
        self.send(13, struct.pack("<Q", 0), self.masked)

    def enable(self) -> None:
        """Start the queue, and unmask its interrupt."""
        self.send(18, struct.pack("<II", 0, 1))
        self.send(13, struct.pack("<Q", 0), self.call)

    def describe(self, index: int, at: int, length: int, flags: int = 0, after: int = 0) -> None:
        struct.pack_into("<QIHH", self.memory, DESCRIPTORS + 16 * index, at, length, flags, after)

    def offer(self, *heads: int) -> None:
        """Put chains into the available ring and kick."""
        for head in heads:
            slot = AVAILABLE + 4 + 2 * (self.available % QUEUE)
            struct.pack_into("<H", self.memory, slot, head)
            self.available += 1
        struct.pack_into("<H", self.memory, AVAILABLE + 2, self.available & 0xFFFF)
        os.eventfd_write(self.kick, 1)

    def interrupted(self, seconds: float = 5.0) -> bool:
        """Whether the device has raised its interrupt."""
        ready, _, _ = select.select([self.call], [], [], seconds)
        if ready:
            os.eventfd_read(self.call)
        return bool(ready)

    def used(self) -> list[tuple[int, int]]:
        """What the device has given back: heads and bytes written."""
        (count,) = struct.unpack_from("<H", self.memory, USED + 2)
        return [struct.unpack_from("<II", self.memory, USED + 4 + 8 * n) for n in range(count)]
