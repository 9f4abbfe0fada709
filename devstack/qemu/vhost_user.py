"""The device's side of vhost-user: what QEMU tells a process that plays one of its devices.

Source: QEMU `docs/interop/vhost-user.rst`. One queue, and no more of the protocol than a small
device needs: messages over a Unix socket, with file descriptors beside them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Final, Self

from devstack.qemu.virtqueue import GuestError, GuestMemory, Region, Virtqueue

_HEADER: Final = struct.Struct("<III")  # request, flags, payload length
_VERSION: Final = 1
_REPLY: Final = 1 << 2
_NEED_REPLY: Final = 1 << 3
_U64: Final = struct.Struct("<Q")
_STATE: Final = struct.Struct("<II")  # queue, number
_ADDRESSES: Final = struct.Struct("<IIQQQQ")  # queue, flags, descriptors, used, available, log
_REGION: Final = struct.Struct("<QQQQ")  # guest address, size, emulator's address, offset in file
_MAX_REGIONS: Final = 8
_MAX_PAYLOAD: Final = 4096
_NO_FD: Final = 1 << 8

VIRTIO_F_VERSION_1: Final = 1 << 32
_PROTOCOL_FEATURES: Final = 1 << 30
_REPLY_ACK: Final = 1 << 3


class _Request(IntEnum):
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18


class _Ring(Enum):
    """Whether the queue is worked on.

    Linux's NSM driver asks for its first random bytes while QEMU is still starting the queue.
    What QEMU passes as the interrupt until then leads nowhere, and an interrupt that the driver
    misses costs it two minutes; so nothing is answered before QEMU names the interrupt again,
    which it does once the queue is enabled (`vub_start` in QEMU's `vhost-user-base.c`).

    | state     | leaves it by                                        | to        |
    |-----------|-----------------------------------------------------|-----------|
    | STOPPED   | SET_VRING_ENABLE 1                                  | ENABLED   |
    | ENABLED   | SET_VRING_CALL                                      | LISTENING |
    | LISTENING | SET_VRING_ENABLE 0, GET_VRING_BASE                  | STOPPED   |
    """

    STOPPED = "stopped"
    ENABLED = "enabled"
    LISTENING = "listening"


#: Called when the driver has put something into the queue; whether it is to be told of answers.
OnKick = Callable[[Virtqueue], bool]


class Backend:
    """Plays a device of one queue over one connection; a context manager.

    Args:
        connection: To QEMU.
        on_kick: Does the device's work.
    """

    def __init__(self, connection: socket.socket, on_kick: OnKick) -> None:
        self._connection = connection
        self._on_kick = on_kick
        self._memory = GuestMemory([])
        self._maps: list[mmap.mmap] = []
        self._size = 0
        self._begin = 0
        self._addresses: tuple[int, ...] = ()
        self._queue: Virtqueue | None = None
        self._kick = self._call = -1
        self._state = _Ring.STOPPED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._kick, self._call):
            if fd >= 0:
                os.close(fd)
        self._kick = self._call = -1
        self._forget_memory()

    def serve(self) -> None:
        """Answer until QEMU hangs up.

        Raises:
            GuestError: It breaks the protocol, or the driver the rules of virtio.
        """
        while True:
            listening = self._state is _Ring.LISTENING and self._kick >= 0
            waiting: list[socket.socket | int] = [self._connection]
            if listening:
                waiting.append(self._kick)
            ready, _, _ = select.select(waiting, [], [])
            if self._kick in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._kick, 8)
                self._work()
            if self._connection in ready and not self._message():
                return

    def _work(self) -> None:
        """Look into the queue, and tell the driver if there are answers in it now."""
        if self._queue is None and self._addresses:
            _, _, descriptors, used, available, _ = self._addresses
            self._queue = Virtqueue(
                self._memory,
                self._size,
                descriptors=descriptors,
                available=available,
                used=used,
                begin=self._begin,
            )
        if self._queue is not None and self._on_kick(self._queue) and self._call >= 0:
            os.write(self._call, _U64.pack(1))

    def _message(self) -> bool:
        """Handle one message; False at the end of the connection."""
        header, fds, _, _ = socket.recv_fds(self._connection, _HEADER.size, _MAX_REGIONS)
        if not header:
            return False
        try:
            request, flags, length = _HEADER.unpack(header)
            if length > _MAX_PAYLOAD:
                raise GuestError(f"a vhost-user message of {length} bytes")
            payload = _receive(self._connection, length)
            answer = self._handle(_Request(request), payload, fds)
        except (struct.error, ValueError, OSError) as error:
            raise GuestError(f"vhost-user: {error}") from error
        finally:
            for fd in fds:
                os.close(fd)
        if answer is None and flags & _NEED_REPLY:
            answer = _U64.pack(0)
        if answer is not None:
            reply = _HEADER.pack(request, _VERSION | _REPLY, len(answer))
            self._connection.sendall(reply + answer)
        return True

    def _handle(self, request: _Request, payload: bytes, fds: list[int]) -> bytes | None:
        match request:
            case _Request.GET_FEATURES:
                return _U64.pack(VIRTIO_F_VERSION_1 | _PROTOCOL_FEATURES)
            case _Request.GET_PROTOCOL_FEATURES:
                return _U64.pack(_REPLY_ACK)
            case _Request.GET_QUEUE_NUM:
                return _U64.pack(1)
            case _Request.SET_MEM_TABLE:
                self._map(payload, fds)
            case _Request.SET_VRING_NUM:
                _, self._size = _STATE.unpack(payload)
            case _Request.SET_VRING_ADDR:
                self._addresses = _ADDRESSES.unpack(payload)
                self._queue = None
            case _Request.SET_VRING_BASE:
                _, self._begin = _STATE.unpack(payload)
                self._queue = None
            case _Request.GET_VRING_BASE:
                return self._stop()
            case _Request.SET_VRING_KICK:
                self._kick = _taken(self._kick, payload, fds)
            case _Request.SET_VRING_CALL:
                self._call = _taken(self._call, payload, fds)
                if self._state is _Ring.ENABLED:
                    self._state = _Ring.LISTENING
                    self._work()
            case _Request.SET_VRING_ENABLE:
                (_, enabled) = _STATE.unpack(payload)
                self._state = _Ring.ENABLED if enabled else _Ring.STOPPED
            case _:
                # Ownership, negotiated features, errors, enabling: nothing follows from them here.
                pass
        return None

    def _map(self, payload: bytes, fds: list[int]) -> None:
        (count, _) = _STATE.unpack_from(payload)
        if count > _MAX_REGIONS or count != len(fds):
            raise GuestError(f"{count} memory regions with {len(fds)} file descriptors")
        self._forget_memory()
        regions = []
        for index, fd in enumerate(fds):
            place = _STATE.size + index * _REGION.size
            guest, size, user, offset = _REGION.unpack_from(payload, place)
            mapped = mmap.mmap(fd, offset + size)
            self._maps.append(mapped)
            regions.append(Region(guest, user, memoryview(mapped)[offset:]))
        self._memory = GuestMemory(regions)

    def _forget_memory(self) -> None:
        self._queue = None
        self._memory = GuestMemory([])
        for mapped in self._maps:
            # A view that is still held keeps its map; the last one gone unmaps it.
            with contextlib.suppress(BufferError):
                mapped.close()
        self._maps.clear()

    def _stop(self) -> bytes:
        if self._queue is not None:
            self._begin = self._queue.next_available
        self._queue = None
        self._state = _Ring.STOPPED
        if self._kick >= 0:
            os.close(self._kick)
            self._kick = -1
        return _STATE.pack(0, self._begin)


def _taken(old: int, payload: bytes, fds: list[int]) -> int:
    """Take the descriptor of a kick or call message over, in place of an older one."""
    if old >= 0:
        os.close(old)
    (value,) = _U64.unpack(payload)
    if value & _NO_FD or not fds:
        return -1
    fd = os.dup(fds[0])
    os.set_blocking(fd, False)
    return fd


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise GuestError("the connection ended within a message")
        data += part
    return bytes(data)
