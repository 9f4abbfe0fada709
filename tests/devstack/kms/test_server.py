"""The server stops whatever its clients do: a failing test ends, and so does `blindgate dev up`."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from devstack.kms.server import running
from devstack.kms.tls import ensure_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request


async def _upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", _upload, methods=["GET", "POST"])])


@pytest.mark.parametrize(
    ("tls", "sent"),
    [
        (False, b""),
        (True, b""),
        (True, b"GET / HTTP/1.1\r\nHost: kms\r\n\r\n"),
        (True, b"POST / HTTP/1.1\r\nHos"),
        (True, b"POST / HTTP/1.1\r\nHost: kms\r\nContent-Length: 100\r\n\r\nhalf"),
    ],
    ids=["no handshake", "idle", "after a response", "half a head", "half a body"],
)
def test_an_open_connection_does_not_keep_the_server_running(
    tmp_path: Path, tls: bool, sent: bytes
) -> None:
    certificates = ensure_certificates(tmp_path, "us-east-1")
    trusted = ssl.create_default_context(cafile=str(certificates.ca))
    stopped = threading.Event()
    with ExitStack() as held:

        def serve() -> None:
            with running(APP, certificates=certificates) as port:
                client = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                if tls:
                    client = held.enter_context(
                        trusted.wrap_socket(client, server_hostname="localhost")
                    )
                client.sendall(sent)
                if sent.startswith(b"GET"):
                    assert client.recv(4096).startswith(b"HTTP/1.1 200")
            stopped.set()

        # A thread, so that a server that hangs fails this test instead of hanging it.
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        thread.join(30)
        assert stopped.is_set()
        del thread
        gc.collect()  # a transport that was left open is reported, and fails this test
