"""What one client can cost the gateway before any route: memory, and the patience of others."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.http import connections
from tests.gateway.test_process import environment, trusted
from tests.gateway.wire import head

pytestmark = [
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc to measure memory"
    ),
    pytest.mark.timeout(180),
]
MIB = 1024 * 1024
#: Bytes that each client tries to send, on as many connections as it takes.
_SENT = 128 * MIB
#: Memory may grow by a few buffers; each of these inputs took more than 500 MiB once, or a core.
_GROWTH = 16 * MIB
DETECT = b"/v1/detections"
POST = head(
    "/v1/detections", "content-type: application/octet-stream", "transfer-encoding: chunked"
)
GET = b"GET /livez HTTP/1.1\r\nhost: gateway\r\n"

ENDLESS = {
    "fields": (GET, b"a: b\r\n" * 10_000),
    "URL": (b"GET /livez?", b"x" * 65_536),
    "name": (GET, b"x" * 65_536),
    "value": (GET + b"a: ", b"x" * 65_536),
    "empty lines": (b"", b"\r\n" * 30_000),
    "trailers": (POST + b"1\r\na\r\n0\r\n", b"a: b\r\n" * 10_000),
    "chunk extension": (POST + b"1;", b"x" * 65_536),
    "chunk size": (POST, b"0" * 65_536),
    "short chunks": (POST, b"1\r\na\r\n" * 10_000),
    "unwanted body": (POST.replace(DETECT, b"/nowhere"), b"1000\r\n" + bytes(0x1000) + b"\r\n"),
    "garbage": (b"", bytes(range(33, 127)) * 700),
}  # fmt: skip


@dataclass(frozen=True)
class Child:
    """A gateway in a process of its own, with an enclave that is not there."""

    process: subprocess.Popen[bytes]
    port: int

    def measure(self) -> int:
        """Forget the peak of its memory; return what it has now, in bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> int:
        """The most memory that it had since, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("gateway")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gateway", "--port", str(port)),
            *("--enclaves", f"unix://{folder}/nothing", *trusted(folder)),
        ],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_live(port)
        yield Child(process, port)
    finally:
        process.kill()
        process.wait()


def wait_until_live(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/livez", timeout=20).is_success:
                return
        assert time.monotonic() < until, "the gateway did not start"
        time.sleep(0.1)


def flood(port: int, first: bytes, more: bytes) -> int:
    """Send an endless head over and over; return how many connections the gateway closed."""
    sent = closed = 0
    until = time.monotonic() + 20
    while sent < _SENT and time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            try:
                connection.sendall(first)
                while sent < _SENT and time.monotonic() < until:
                    sent += connection.send(more)
            except OSError:
                closed += 1
    return closed


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_head_costs_a_bounded_amount_of_memory(child: Child, kind: str) -> None:
    first, more = ENDLESS[kind]
    before = child.measure()
    stop = threading.Event()
    answered = []

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{child.port}", timeout=20) as http:
            while True:
                answered.append(http.get("/livez").is_success)
                if stop.wait(0.02):
                    return

    other = threading.Thread(target=ask)
    other.start()
    try:
        closed = flood(child.port, first, more)
    finally:
        stop.set()
        other.join()
    assert closed > 0, "no connection was closed"
    assert answered
    assert all(answered), "another client was not served"
    assert child.peak() - before < _GROWTH
    assert child.process.poll() is None


def test_many_clients_that_stop_in_the_middle_of_a_head_cost_little(child: Child) -> None:
    """Each may leave 32 KiB, for ten seconds."""
    before = child.measure()
    with ExitStack() as opened:
        for _ in range(200):
            connection = socket.create_connection(("127.0.0.1", child.port), timeout=20)
            opened.enter_context(connection)
            connection.sendall(GET + b"a: " + b"x" * 31_000)
        wait_until_live(child.port)
        assert child.peak() - before < 200 * 128 * 1024
    wait_until_live(child.port)


def test_the_limits_are_those_of_the_documentation() -> None:
    page = Path(__file__).resolve().parents[2].joinpath("docs", "api.md").read_text()
    assert (connections.MAX_TARGET, connections.MAX_HEAD) == (16_384, 32_768)
    assert "16 KiB, a header 32 KiB and 100 fields" in page
    assert connections.MAX_FIELDS == 100
