"""The stand-in for vsock-proxy: one destination, a fixed number of connections, both directions."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from devstack.vsock_proxy import AllowlistError, Remote, read_allowlist

KMS = "kms.us-east-1.amazonaws.com"
ALLOWED = f"allowlist:\n- {{address: {KMS}, port: 443}}\n"


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what it gets, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)

        def serve() -> None:
            while True:
                try:
                    connection = opened.enter_context(listener.accept()[0])
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(folder: Path, *options: str, port: str = "443") -> Iterator[Path]:
    """The program, listening at a Unix socket."""
    config, path = folder / "allow.yaml", folder / "proxy"
    config.write_text(ALLOWED)
    command = [sys.executable, "-m", "devstack.vsock_proxy", "--config", str(config), *options]
    with subprocess.Popen(
        [*command, f"unix://{path}", KMS, port], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            ends = time.monotonic() + 30
            while not path.exists():
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < ends
                time.sleep(0.02)
            yield path
        finally:
            process.terminate()
            assert process.wait(20) == 0


def dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def test_bytes_pass_both_ways_and_an_end_ends_both(tmp_path: Path) -> None:
    with (
        echo() as port,
        proxy(tmp_path, "--connect-to", f"127.0.0.1:{port}") as path,
        dial(path) as near,
    ):
        near.sendall(b"to KMS")
        assert near.recv(100) == b"to KMS"
        near.shutdown(socket.SHUT_WR)
        assert near.recv(100) == b""


def test_a_connection_over_the_number_of_workers_waits_in_silence(tmp_path: Path) -> None:
    with (
        echo() as port,
        proxy(tmp_path, "-w", "2", "--connect-to", f"127.0.0.1:{port}") as path,
        dial(path) as first,
        dial(path) as second,
        dial(path) as third,
    ):
        for served in (first, second):
            served.sendall(b"a")
            assert served.recv(10) == b"a"
        third.sendall(b"b")
        third.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.recv(10)
        first.close()
        third.settimeout(20)
        assert third.recv(10) == b"b"


def test_a_destination_that_cannot_be_reached_closes_the_connection(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        with proxy(tmp_path, "--connect-to", where) as path, dial(path) as near:
            assert near.recv(10) == b""


def test_a_destination_outside_the_allow_list_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "allow.yaml"
    config.write_text(ALLOWED)
    command = [sys.executable, "-m", "devstack.vsock_proxy", "--config", str(config)]
    for host, port in ((KMS, "444"), ("evil.example", "443")):
        done = subprocess.run(
            [*command, f"unix://{tmp_path}/p", host, port],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert done.stderr == f"vsock-proxy: {host} port {port} is not in the allow-list\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "allowlist:",
        "allowlist: 3",
        "- a",
        "allowlist:\n- {address: a}",
        "a: [",
        "allowlist: [3]",
    ],
)
def test_a_file_that_is_no_allow_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "allow.yaml"
    path.write_text(text)
    with pytest.raises(AllowlistError, match="is no allow-list"):
        read_allowlist(path)
    with pytest.raises(AllowlistError):
        read_allowlist(tmp_path / "absent")


def test_an_allow_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "allow.yaml"
    path.write_text(ALLOWED + "- {address: 127.0.0.1, port: 8443}\n")
    assert read_allowlist(path) == {Remote(KMS, 443), Remote("127.0.0.1", 8443)}


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:a", "host:65536", "host:-1"])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        Remote.parse(text)
    assert Remote.parse("[::1]:65535") == Remote("[::1]", 65_535)
