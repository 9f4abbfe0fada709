"""The dev NSM behind a socket, and as a program."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from blindgate.attestation import Root, parse, verify_chain_and_signature
from blindgate.link.addresses import UnixAddress
from devstack.nsm import DevNsm, NsmServer
from enclave_app.nsm import SocketNsm
from tests.devstack.nsm.conftest import IMAGE


@pytest.fixture
def path(nsm: DevNsm, tmp_path: Path) -> Iterator[str]:
    address = UnixAddress(str(tmp_path / "nsm.sock"))
    with NsmServer(nsm, address):
        yield address.path


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(path)
    return connection


def test_frames_of_one_connection_are_answered_in_turn(path: str) -> None:
    with _connect(path) as connection:
        for _ in range(3):
            request = cbor2.dumps("DescribeNSM")
            connection.sendall(struct.pack(">I", len(request)) + request)
            (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
            answer = cbor2.loads(connection.recv(length, socket.MSG_WAITALL))
            assert "DescribeNSM" in answer


def test_a_request_that_is_too_large_is_answered(path: str) -> None:
    with _connect(path) as connection:
        connection.sendall(struct.pack(">I", 5000) + bytes(5000))
        (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
        answer = cbor2.loads(connection.recv(length, socket.MSG_WAITALL))
        assert answer == {"Error": "InputTooLarge"}


def test_a_length_beyond_reason_ends_the_connection(path: str) -> None:
    with _connect(path) as connection:
        connection.sendall(struct.pack(">I", 2**31))
        assert connection.recv(1) == b""


def test_many_clients_at_once(path: str) -> None:
    documents: list[bytes] = []

    def ask() -> None:
        with SocketNsm(path) as nsm:
            documents.extend(nsm.attest(nonce=b"n" * 16) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({parse(document).certificate for document in documents}) == 1
    assert len(documents) == 20


def test_closing_ends_idle_connections(nsm: DevNsm, tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "nsm.sock"))
    with NsmServer(nsm, address), _connect(address.path) as connection:
        pass
    server = NsmServer(nsm, address)
    with server, _connect(address.path) as connection:
        request = cbor2.dumps("GetRandom")
        connection.sendall(struct.pack(">I", len(request)) + request)
        connection.recv(4)
        server.close()
        server.close()
        assert len(connection.recv(1 << 16)) <= 1 << 16


def test_as_a_program(tmp_path: Path) -> None:
    pcrs = tmp_path / "pcrs.json"
    pcrs.write_text(json.dumps({f"PCR{i}": value.hex() for i, value in IMAGE.items()}))
    arguments = ("--socket", tmp_path / "s", "--root-dir", tmp_path / "root", "--pcrs", pcrs)
    with subprocess.Popen(
        [sys.executable, "-m", "devstack.nsm", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        assert "dev NSM i-0" in program.stderr.readline()
        try:
            with SocketNsm(str(tmp_path / "s")) as nsm:
                document = nsm.attest()
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
    root = Root.from_pem((tmp_path / "root" / "root.pem").read_bytes())
    assert verify_chain_and_signature(document, root=root).pcrs[0] == IMAGE[0]


def test_the_program_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from devstack.nsm.__main__ import main

    previous = signal.getsignal(signal.SIGTERM)
    try:
        code = main(["--socket", "s", "--root-dir", str(tmp_path), "--pcrs", str(tmp_path / "no")])
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert code == 1
    assert "cannot read" in capsys.readouterr().err
