"""The gateway as a real server with a fake enclave behind it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from blindgate.link import FrameLimits
from gateway.app import create_app, verifier
from gateway.http.connections import server_options
from gateway.pool import Pool, PoolLimits, Probe, SocketBackend
from gateway.settings import Settings
from gateway.telemetry.logging import FIELDS
from gateway.telemetry.tracing import Tracing
from tests.gateway.fake_worker import FakeWorker, trust

OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def only_known_fields_are_logged() -> Iterator[None]:
    """A field that the formatter does not know would be lost without a word."""
    known = {*vars(logging.makeLogRecord({})), *FIELDS, "message", "asctime"}
    unknown: set[str] = set()

    def look(record: logging.LogRecord) -> bool:
        if record.name.startswith("gateway"):
            unknown.update(vars(record).keys() - known)
        return True

    handler = logging.NullHandler()
    handler.handle = look  # type: ignore[method-assign]
    logging.getLogger("gateway").addHandler(handler)
    yield
    logging.getLogger("gateway").removeHandler(handler)
    assert not unknown


@dataclass
class Served:
    """A gateway that listens."""

    http: httpx.AsyncClient
    port: int
    pool: Pool
    app: Any
    server: uvicorn.Server

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.005)

    async def until_ready(self, enclaves: int = 1) -> None:
        await self.until(lambda: len(self.pool.keepers()) == enclaves)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


class _Server(uvicorn.Server):
    """Stops when it is told to instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stop.wait()


@asynccontextmanager
async def serve_gateway(
    *workers: FakeWorker,
    limits: PoolLimits | None = None,
    probe: Probe | None = None,
    on_status: Any = None,
    wait: bool = True,
    tracing: Tracing | None = None,
    keep_alive: int = 5,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Run a gateway in this event loop, on a free port of 127.0.0.1."""
    chosen = Settings(
        enclaves=tuple(str(worker.address) for worker in workers), drain_seconds=1, **settings
    )
    pool = Pool(
        SocketBackend(1.0, FrameLimits(1024 * 1024)),
        verifier(trust()),
        limits=limits,
        probe=probe or Probe(period=0.05, patience=2.0),
        on_status=on_status,
    )
    app = create_app(chosen, pool=pool, tracing=tracing)
    server = _Server(
        uvicorn.Config(
            app,
            port=0,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=keep_alive,
            **server_options(app, chosen),
        )
    )
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            served = Served(http, port, pool, app, server)
            if wait and workers:
                await served.until_ready(len(workers))
            yield served
    finally:
        server.stop.set()
        await task


@pytest.fixture
def worker_path(tmp_path: Path) -> Path:
    return tmp_path / "worker"


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
