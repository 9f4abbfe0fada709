"""Addresses and how they are dialled: docs/link.md §2."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blindgate.link import (
    Address,
    AddressError,
    DialError,
    HybridAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
)
from blindgate.link.addresses import ANY_CID
from blindgate.link.dial import dial, listen, open_socket


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("vsock://16:5000", VsockAddress(16, 5000)),
        ("vsock://any:5000", VsockAddress(ANY_CID, 5000)),
        ("unix:///run/enclave.sock", UnixAddress("/run/enclave.sock")),
        ("hybrid:///run/vm.vsock:5000", HybridAddress("/run/vm.vsock", 5000)),
        ("hybrid:///run/a:b:7", HybridAddress("/run/a:b", 7)),
    ],
)
def test_an_address_round_trips(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/enclave.sock",
        "unix://relative",
        "unix://",
        "vsock://16",
        "vsock://parent:5000",
        "vsock://16:-1",
        "vsock://4294967295:1",
        "vsock://1:4294967295",
        "hybrid:///run/vm.vsock",
        "hybrid://vm.vsock:1",
        "tcp://127.0.0.1:80",
        "unix:///" + "a" * 200,
        "vsock://16:5000\n",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


@contextmanager
def echoing(server: socket.socket, greet: bytes | None = None) -> Iterator[None]:
    """Answer one connection: the hybrid handshake if asked for, then an echo."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            if greet is not None:
                assert connection.makefile("rb", buffering=0).readline() == b"CONNECT 5000\n"
                connection.sendall(greet)
                if not greet.endswith(b"\n"):
                    return
            with contextlib.suppress(ConnectionError):  # a client that gave up is no fault here
                if data := connection.recv(100):
                    connection.sendall(data)

    thread = threading.Thread(target=serve)
    with server:
        thread.start()
        try:
            yield
        finally:
            thread.join()


def exchange(address: Address, how: str) -> bytes:
    if how == "blocking":
        sock = dial(address, 5)
    else:
        sock = asyncio.run(open_socket(address, 5))
        sock.setblocking(True)
    with sock:
        sock.sendall(b"ping")
        return sock.recv(100)


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_a_unix_socket_is_dialled(tmp_path: Path, how: str) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    with echoing(listen(address)):
        assert exchange(address, how) == b"ping"


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
@pytest.mark.parametrize("greeting", [b"OK 5000\n", b"OK 1073741824\n"])
def test_a_hybrid_socket_is_asked_for_the_port(tmp_path: Path, how: str, greeting: bytes) -> None:
    path = str(tmp_path / "s")
    with echoing(listen(UnixAddress(path)), greeting):
        assert exchange(HybridAddress(path, 5000), how) == b"ping"


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
@pytest.mark.parametrize("greeting", [b"", b"NO\n", b"OK \n", b"OK 5000", b"A" * 30])
def test_a_hybrid_socket_that_refuses_is_a_dial_error(
    tmp_path: Path, how: str, greeting: bytes
) -> None:
    path = str(tmp_path / "s")
    with echoing(listen(UnixAddress(path)), greeting), pytest.raises(DialError):
        exchange(HybridAddress(path, 5000), how)


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_a_hybrid_socket_that_stays_silent_is_given_up(tmp_path: Path, how: str) -> None:
    path = str(tmp_path / "s")
    with listen(UnixAddress(path)), pytest.raises(DialError, match="does not answer"):
        if how == "blocking":
            dial(HybridAddress(path, 5000), 0.05)
        else:
            asyncio.run(open_socket(HybridAddress(path, 5000), 0.05))


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_an_address_without_a_listener_is_a_dial_error(tmp_path: Path, how: str) -> None:
    with pytest.raises(DialError, match="cannot reach unix://"):
        exchange(UnixAddress(str(tmp_path / "s")), how)


def test_only_this_user_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen(UnixAddress(str(path))):
        assert path.stat().st_mode & 0o077 == 0


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    listen(address).close()
    with echoing(listen(address)):
        assert exchange(address, "blocking") == b"ping"


def test_a_hybrid_address_cannot_be_listened_at() -> None:
    with pytest.raises(DialError, match="use vsock"):
        listen(HybridAddress("/run/vm.vsock", 5000))


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_vsock_is_dialled(how: str) -> None:
    local = 1  # VMADDR_CID_LOCAL, vsock(7)
    try:
        server = listen(VsockAddress(local, 50_507))
    except DialError as error:
        pytest.skip(f"no vsock loopback here: {error}")
    with echoing(server):
        assert exchange(VsockAddress(local, 50_507), how) == b"ping"
