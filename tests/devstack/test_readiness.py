"""A check is true for a program that serves, and false for everything else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devstack.readiness import http_ok, tcp_port, unix_socket
from devstack.supervisor import Check


def holds(check: Check) -> bool:
    return asyncio.run(asyncio.wait_for(check(), 20))


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert not holds(unix_socket(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert not holds(unix_socket(path))  # bound, and nobody accepts yet
        listener.listen()
        assert holds(unix_socket(path))
    assert not holds(unix_socket(path))  # the file of a program that has ended


def test_a_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not holds(tcp_port(port))
        listener.listen()
        assert holds(tcp_port(port))
    assert not holds(tcp_port(port))


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/readyz"
        finally:
            server.shutdown()
            thread.join(20)


@pytest.mark.parametrize(
    ("status", "ready"), [(200, True), (204, False), (302, False), (404, False), (503, False)]
)
def test_a_url(status: int, ready: bool) -> None:
    with answering(status) as url:
        assert holds(http_ok(url)) is ready
    assert not holds(http_ok(url))
