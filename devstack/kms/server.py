"""Serve the application over TLS: in the foreground, or beside a test."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from starlette.applications import Starlette

    from devstack.kms.tls import Certificates


#: Seconds that open requests get to finish when the server stops.
_GRACE_SECONDS: Final = 2
#: Seconds after which `running` reports a server that does not stop, instead of waiting for it:
#: the grace period, and plenty for closing sockets on a busy machine.
_STOP_SECONDS: Final = 15.0


class _Server(uvicorn.Server):
    """uvicorn, which reports its port when it listens and drops its connections when it stops."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                self._listening(listener.getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # A client may keep its TLS connection open, or never finish the handshake. The client of a
        # failing test does: the traceback of the failure refers to it. uvicorn does not know
        # connections before their handshake; the loop knows all.
        for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
            transport.abort()
        await asyncio.sleep(0)


def _config(app: Starlette, host: str, port: int, certificates: Certificates) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=str(certificates.certificate),
        ssl_keyfile=str(certificates.key),
        access_log=False,
        log_config=None,
        lifespan="off",
        # Not uvloop, whose loop does not close while a client keeps a TLS connection open.
        loop="asyncio",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def serve(
    app: Starlette,
    *,
    host: str,
    port: int,
    certificates: Certificates,
    listening: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: From `create_app`.
        host: Address to listen on.
        port: Port; 0 for any free one.
        certificates: From `ensure_certificates`.
        listening: Called once with the port when connections are accepted.
    """
    _Server(_config(app, host, port, certificates), listening).run()


@contextmanager
def running(
    app: Starlette, *, certificates: Certificates, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve in a thread while the block runs.

    Yields:
        The port, a free one.

    Raises:
        OSError: It cannot listen.
        RuntimeError: It did not stop at the end of the block.
    """
    ready = threading.Event()
    ports: list[int] = []

    def listening(port: int) -> None:
        ports.append(port)
        ready.set()

    server = _Server(_config(app, host, 0, certificates), listening)

    def run() -> None:
        try:
            server.run()
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="dev-kms", daemon=True)
    thread.start()
    ready.wait()
    if not ports:
        thread.join(_STOP_SECONDS)
        raise OSError(f"the dev KMS could not listen on {host}")
    try:
        yield ports[0]
    finally:
        server.should_exit = True
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            raise RuntimeError(f"the dev KMS did not stop within {_STOP_SECONDS:.0f} seconds")
