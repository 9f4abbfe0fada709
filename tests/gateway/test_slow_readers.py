"""A client that does not read its responses loses its connection; one that reads keeps it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from gateway.http.connections import server_options
from tests.gateway.conftest import serve_gateway
from tests.gateway.wire import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: uvloop, which the gateway runs with, buffers by itself."""
    return "asyncio", {"use_uvloop": request.param}


#: More than the system buffers for a connection.
REQUESTS = 40
MEMBERS = ["/openapi.json", "/docs", "/absent"]


def asks(path: str, count: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode() * count


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    # A small window, so that little is sent before it is read.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def received(sock: socket.socket) -> int:
    """Read to the end, or to the reset."""
    loop, count = asyncio.get_running_loop(), 0
    with suppress(ConnectionError):
        while data := await loop.sock_recv(sock, 65536):
            count += len(data)
    return count


def connections(server: object) -> Callable[[], int]:
    return lambda: len(server.server_state.connections)  # type: ignore[attr-defined]


async def test_who_does_not_read_loses_the_connection() -> None:
    async with serve_gateway(upload_grace=0.2, min_upload_rate=64 * 1024 * 1024) as served:
        whole = len((await served.http.get("/openapi.json")).content)
        open_connections = connections(served.server)
        before = open_connections()
        sock = await connected(served.port)
        with sock:
            await asyncio.get_running_loop().sock_sendall(sock, asks("/openapi.json", REQUESTS))
            await served.until(lambda: open_connections() == before + 1)
            async with asyncio.timeout(PATIENCE):
                while open_connections() > before:
                    await asyncio.sleep(0.01)
                assert await received(sock) < REQUESTS * whole


async def test_requests_without_reading_gain_no_time() -> None:
    """Each short response alone would be within its time."""
    async with serve_gateway(upload_grace=0.3, min_upload_rate=64 * 1024 * 1024) as served:
        open_connections = connections(served.server)
        sock = await connected(served.port)
        loop = asyncio.get_running_loop()
        with sock:
            await loop.sock_sendall(sock, asks("/openapi.json", REQUESTS))
            await served.until(lambda: open_connections() >= 1)
            with suppress(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await loop.sock_sendall(sock, asks("/absent", 1))
                        await asyncio.sleep(0.05)
            await served.until(lambda: open_connections() == 0)


@pytest.mark.parametrize("path", MEMBERS)
async def test_who_reads_gets_every_response(path: str) -> None:
    async with serve_gateway(upload_grace=0.2, min_upload_rate=1024) as served:
        one = await served.http.get(path)
        sock = await connected(served.port)
        with sock:
            last = asks(path, 1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            await asyncio.get_running_loop().sock_sendall(sock, asks(path, 9) + last)
            # Longer than the grace alone: what is read late, and at the rate, is not lost.
            await asyncio.sleep(0.5)
            async with asyncio.timeout(PATIENCE):
                assert await received(sock) > 10 * len(one.content)


async def test_the_time_is_that_of_a_body() -> None:
    async with serve_gateway(upload_grace=3.0, min_upload_rate=1000, upload_timeout=50) as served:
        options = server_options(served.app, served.app.state.settings)
        assert options["http"].read_seconds(7000) == 10.0
    async with serve_gateway(min_upload_rate=0, upload_timeout=50.0) as served:
        options = server_options(served.app, served.app.state.settings)
        assert options["http"].read_seconds(7000) == 50.0
