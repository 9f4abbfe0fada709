"""Opening and accepting connections of the link (docs/link.md §2).

The only place that makes sockets for it; everything above works on a connected socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from blindgate.link.addresses import Address, HybridAddress, UnixAddress, VsockAddress
from blindgate.link.errors import DialError

#: A hybrid answer is `OK <port>\n`; the port has at most 10 digits.
_MAX_GREETING: Final = 16


def dial(address: Address, timeout: float) -> socket.socket:
    """Connect, waiting for at most `timeout` seconds.

    Returns:
        A connected, blocking stream socket without a time-out.

    Raises:
        DialError: The other side cannot be reached, or not in time. Nothing was sent to it.
    """
    ends = time.monotonic() + timeout
    sock = _new_socket(address)
    try:
        sock.settimeout(timeout)
        sock.connect(_target(address))
        if isinstance(address, HybridAddress):
            sock.sendall(_greeting(address))
            answer = b""
            # Byte by byte: what follows the line belongs to the guest's protocol.
            while not answer.endswith(b"\n"):
                sock.settimeout(max(ends - time.monotonic(), 1e-3))
                byte = sock.recv(1)
                if not byte or len(answer) >= _MAX_GREETING:
                    break
                answer += byte
            _check_greeting(address, answer)
        sock.settimeout(None)
    except (OSError, DialError) as error:
        sock.close()
        raise _dial_error(address, error) from error
    return sock


async def open_socket(address: Address, timeout: float) -> socket.socket:  # noqa: ASYNC109
    """As `dial`, without blocking the event loop.

    Returns:
        A connected, non-blocking stream socket, ready for `loop.create_connection(sock=…)`.

    Raises:
        DialError: As for `dial`.
    """
    loop = asyncio.get_running_loop()
    sock = _new_socket(address)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(timeout):
            if isinstance(address, VsockAddress):
                await connect_in_loop(sock, _target(address))
            else:
                await loop.sock_connect(sock, _target(address))
            if isinstance(address, HybridAddress):
                await loop.sock_sendall(sock, _greeting(address))
                answer = b""
                while not answer.endswith(b"\n"):
                    byte = await loop.sock_recv(sock, 1)
                    if not byte or len(answer) >= _MAX_GREETING:
                        break
                    answer += byte
                _check_greeting(address, answer)
    except (OSError, DialError) as error:  # TimeoutError is an OSError
        sock.close()
        raise _dial_error(address, error) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def connect_in_loop(sock: socket.socket, target: Any) -> None:
    """Connect a non-blocking socket of any family that has EINPROGRESS.

    uvloop's `sock_connect` takes every address for a host name that it must resolve, and so
    fails for AF_VSOCK.

    Raises:
        OSError: The other side cannot be reached.
    """
    try:
        sock.connect(target)
    except (BlockingIOError, InterruptedError):
        pass
    else:
        return
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()
    loop.add_writer(sock.fileno(), settled.set)
    try:
        await settled.wait()
    finally:
        loop.remove_writer(sock.fileno())
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


def listen(address: Address, backlog: int = 128) -> socket.socket:
    """Accept connections at an address.

    A Unix socket that an earlier process left behind is replaced, and only this user may
    connect to the new one.

    Raises:
        DialError: The address cannot be listened at.
    """
    if isinstance(address, HybridAddress):
        raise DialError(f"{address} cannot be listened at: the VMM does; use vsock:// in the guest")
    sock = _new_socket(address)
    try:
        if isinstance(address, UnixAddress):
            with contextlib.suppress(FileNotFoundError):
                Path(address.path).unlink()
        sock.bind(_target(address))
        if isinstance(address, UnixAddress):
            Path(address.path).chmod(0o600)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise DialError(f"cannot listen at {address}: {error.strerror or error}") from error
    return sock


def _new_socket(address: Address) -> socket.socket:
    family: int | None = socket.AF_UNIX
    if isinstance(address, VsockAddress):
        family = getattr(socket, "AF_VSOCK", None)  # Linux only
    if family is None:
        raise DialError(f"this system has no sockets for {address}: only Linux has vsock")
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise DialError(f"this kernel has no sockets for {address}: {error.strerror}") from error


def _target(address: Address) -> tuple[int, int] | str:
    return (address.cid, address.port) if isinstance(address, VsockAddress) else address.path


def _greeting(address: HybridAddress) -> bytes:
    return b"CONNECT %d\n" % address.port


def _check_greeting(address: HybridAddress, answer: bytes) -> None:
    # The number in the answer is the host side's own port and may differ from the one asked for.
    if not (answer.startswith(b"OK ") and answer.endswith(b"\n") and answer[3:-1].isdigit()):
        raise DialError(f"nobody listens at {address}")


def _dial_error(address: Address, error: Exception) -> DialError:
    if isinstance(error, DialError):
        return error
    if isinstance(error, TimeoutError):
        return DialError(f"{address} does not answer")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DialError(f"cannot reach {address}: {reason}")
