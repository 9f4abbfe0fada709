"""The gateway is told to end under load; clients are slow, or come and go by the thousand."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from blindgate.detections import Detections
from blindgate.link import DialError, UnixAddress
from blindgate.link.dial import dial
from devstack.stack import free_port
from tests.faults.rig import Rig
from tests.faults.traffic import OK, opened, sealed, told, traffic, until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("well")]

Figure = Callable[[str], None]
CYCLES = 10_000
OCTETS = {"content-type": "application/octet-stream"}


def test_gateway_told_to_end_under_load_finishes_what_it_has(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    content, metrics = rig.envelope(photos[0]), free_port()
    with (
        rig.further_gateway(
            [rig.places.socket("worker")], BLINDGATE_METRICS_PORT=str(metrics)
        ) as gateway,
        contextlib.ExitStack() as closing,
        ThreadPoolExecutor(16) as pool,
    ):
        https = [
            closing.enter_context(httpx.Client(base_url=gateway.url, timeout=20, trust_env=False))
            for _ in range(16)
        ]
        for http in https:  # connected before the end is told, as a load balancer's are
            assert http.get("/livez").status_code == 200
        with rig.frozen("worker"):
            sent = [pool.submit(_post, http, content) for http in https]
            until(lambda: _in_flight(metrics) == 16, 60, "the gateway has all requests")
            told_to_end = time.monotonic()
            os.kill(rig.pid(gateway.name), signal.SIGTERM)
        rig.kill(gateway.name, signal.SIGTERM)  # the second one changes nothing
        ended = time.monotonic() - told_to_end
        answers = [one.result(20) for one in sent]
        late = told(opened(gateway.url, lambda: content, expected[0], 5))
    assert [answer.status_code for answer in answers] == [200] * 16
    for answer in answers:
        found = Detections.model_validate_json(answer.content)
        assert found.detections == expected[0].detections
    assert ended < 30
    assert late.outcome == "ConnectError"
    figure(f"16 of 16 answered; ended after {ended:.2f} s; then refused")


def test_uploads_that_trickle_are_ended_and_hold_nobody_up(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    head = (
        b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
        b"content-length: 100000\r\n\r\n"
    )
    with _trickling(_port(rig), head + b"\x02") as socks, rig.client() as client:
        with traffic([sealed(client, photos[1], expected[1])] * 2) as seen:
            ended = _feed(socks)
        answers = [sock.recv(4096)[:12] for sock in socks]
    assert set(answers) <= {b"HTTP/1.1 408"}
    assert set(seen.outcomes()) == {OK}
    figure(
        f"100 uploads of 5 bytes a second ended after {ended:.1f} s with 408; "
        f"meanwhile {seen.outcomes()[OK]} answers, slowest {seen.slowest():.2f} s"
    )


def test_heads_that_trickle_are_ended_and_hold_nobody_up(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    whole = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    # The second request's head of a connection is watched as the first one's is.
    with (
        _trickling(_port(rig), b"GET /livez HTTP/1.1\r\nx: ") as first,
        _trickling(_port(rig), whole + b"GET /livez HTTP/1.1\r\nx: ") as second,
        rig.client() as client,
    ):
        for sock in second:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        with traffic([sealed(client, photos[1], expected[1])] * 2) as seen:
            ended = _feed(first), _feed(second)
    assert set(seen.outcomes()) == {OK}
    figure(f"100 heads ended after {ended[0]:.1f} s, 100 second ones after {sum(ended):.1f} s")


def test_clients_that_do_not_read_hold_nobody_up(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    # Answers that nobody takes: pipelined until the gateway has to stop writing them.
    request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 50
    port = _port(rig)
    with contextlib.ExitStack() as closing:
        for _ in range(20):
            sock = closing.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(request)
        client = closing.enter_context(rig.client())
        before = _resident(rig.pid("gateway"))
        with traffic([sealed(client, photos[1], expected[1])] * 2) as seen:
            until(lambda: len(seen.all) >= 30, 60, "answers for those who read")
        grown = _resident(rig.pid("gateway")) - before
    assert set(seen.outcomes()) == {OK}
    assert grown < 50_000_000
    figure(
        f"20 clients with 50 answers each untaken; {len(seen.all)} others answered, slowest "
        f"{seen.slowest():.2f} s, gateway grew by {grown / 1e6:.0f} MB"
    )


@pytest.mark.timeout(60)
def test_ten_thousand_connections_to_the_gateway_leave_nothing(rig: Rig, figure: Figure) -> None:
    port = _port(rig)

    def cycle() -> None:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            # Reset at once, without the minute in which the kernel keeps the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with _leaving_nothing(rig.pid("gateway")) as report:
        began = time.monotonic()
        for _ in range(CYCLES):
            cycle()
        spent = time.monotonic() - began
    figure(f"{CYCLES} connections in {spent:.1f} s; {report()}")


@pytest.mark.timeout(60)
def test_ten_thousand_connections_to_the_worker_leave_nothing(rig: Rig, figure: Figure) -> None:
    address = UnixAddress(str(rig.places.sockets / "worker"))
    with _leaving_nothing(rig.pid("worker")) as report:
        began = time.monotonic()
        for _ in range(CYCLES):
            _dial(address).close()
        spent = time.monotonic() - began
    figure(f"{CYCLES} connections in {spent:.1f} s; {report()}")


@contextmanager
def _leaving_nothing(pid: int) -> Iterator[Callable[[], str]]:
    """See that a process has as many files and threads, and about the memory, as before."""
    folder = Path(f"/proc/{pid}")

    def counted() -> tuple[int, int]:
        return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))

    before, memory = counted(), _resident(pid)
    grown = 0

    def report() -> str:
        return f"files and threads {before} as before, memory grew by {grown / 1e6:.1f} MB"

    yield report
    # The gateway opens and closes a connection to the worker at times: a few more are no leak.
    until(lambda: all(n <= b + 8 for n, b in zip(counted(), before, strict=True)), 60, "cleaned up")
    grown = _resident(pid) - memory
    assert grown < 20_000_000


def _dial(address: UnixAddress) -> socket.socket:
    while True:
        # A Unix socket whose backlog is full says so at once instead of letting one wait.
        with contextlib.suppress(DialError):
            return dial(address, 5)


@contextmanager
def _trickling(port: int, begun: bytes) -> Iterator[list[socket.socket]]:
    """A hundred connections that have begun to say something."""
    with contextlib.ExitStack() as closing:
        socks = []
        for _ in range(100):
            sock = closing.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            sock.sendall(begun)
            socks.append(sock)
        yield socks


def _feed(socks: list[socket.socket]) -> float:
    """Send a byte on each at times, until the gateway ends them; returns how long it took."""
    began, left = time.monotonic(), list(socks)
    while left:
        assert time.monotonic() - began < 10, f"{len(left)} connections go on"
        time.sleep(0.2)
        left = [sock for sock in left if _trickles(sock)]
    return time.monotonic() - began


def _trickles(sock: socket.socket) -> bool:
    """Send one byte more; False if the gateway has answered or closed."""
    with selectors.DefaultSelector() as arrived:
        arrived.register(sock, selectors.EVENT_READ)
        if arrived.select(0):
            return False
    try:
        sock.send(b"0")
    except OSError:
        return False
    return True


def _in_flight(metrics: int) -> float:
    """Requests that wait for an enclave or are with one."""
    text = httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False).text
    names = ("blindgate_queue ", 'blindgate_connections{state="busy"} ')
    return sum(float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(names))


def _post(http: httpx.Client, content: bytes) -> httpx.Response:
    return http.post("/v1/detections", content=content, headers=OCTETS)


def _port(rig: Rig) -> int:
    return int(rig.running.gateway.rpartition(":")[2])


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
