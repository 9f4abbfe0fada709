"""What blindgate-enclave@.service runs: start, watch, drain, end, with a stand-in for nitro-cli."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest

from blindgate.link import parse_address
from blindgate.link.dial import listen
from blindgate.link.frames import (
    AnswerHeader,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
)
from tests.deploy import terraform as tf

SCRIPT = tf.ROOT / "deploy" / "systemd" / "enclave_unit.py"
FAKE = Path(__file__).with_name("fake_nitro_cli.py")


class Host:
    """A parent instance: the stand-in's state, systemd's socket, a worker's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "nitro.json"
        self.eif = folder / "blue.eif"
        self.eif.write_bytes(bytes(2 * 1024 * 1024))
        self.cli = folder / "nitro-cli"
        self.cli.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
        self.cli.chmod(0o755)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(20)

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state.read_text())
        return found

    def change(self, **values: Any) -> None:
        current = self.read() if self.state.exists() else {}
        partial = self.state.with_suffix(".test")
        partial.write_text(json.dumps({**current, **values}))
        partial.replace(self.state)

    def start(self, memory: int = 64, link: str = "unix:///nowhere") -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), "--name", "blindgate-blue", "--eif", str(self.eif)]
        command += ["--cid", "16", "--cpus", "2", "--memory", str(memory), "--link", link]
        command += ["--nitro-cli", str(self.cli), "--period", "0.2", "--grace", "20"]
        return subprocess.Popen(
            command,
            env={
                **os.environ,
                "FAKE_NITRO_STATE": str(self.state),
                "NOTIFY_SOCKET": str(self.folder / "notify"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, state: str) -> None:
        while self.notified.recv(64) != state.encode():
            pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.notified.close()


@contextmanager
def running(host: Host, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with host.start(**options) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


class Worker:
    """Answers `drain` and `status` like the enclave's worker; busy until told otherwise."""

    def __init__(self, address: str) -> None:
        self.asked: list[Operation] = []
        self.drained = threading.Event()
        self.idle = threading.Event()
        self._listener = listen(parse_address(address))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as sock:
            reader = FrameReader(RequestHeader, FrameLimits(1024))
            while count := sock.recv_into(reader.buffer()):
                event = reader.received(count)
                if isinstance(event, RequestHeader):
                    self._answer(sock, event)

    def _answer(self, sock: socket.socket, request: RequestHeader) -> None:
        self.asked.append(request.operation)
        body = b""
        if request.operation is Operation.STATUS:
            # Nothing computes, but an answer is still on its way.
            body = cbor2.dumps({"busy": 0, "queued": 0, "in_hand": not self.idle.is_set()})
        sock.sendall(AnswerHeader(request.request_id, Outcome.OK, len(body)).encode() + body)
        if request.operation is Operation.DRAIN:
            self.drained.set()

    def join(self) -> None:
        self._thread.join(timeout=20)


def test_it_says_ready_once_the_enclave_runs_and_ends_it_on_sigterm(host: Host) -> None:
    with running(host) as process:
        host.wait_for("READY=1")
        (enclave,) = host.read()["enclaves"]
        assert (enclave["EnclaveName"], enclave["EnclaveCID"]) == ("blindgate-blue", 16)
        host.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        code, errors = finish(process)
    assert code == 0
    # There is no worker behind this address: that is said, and the enclave is ended all the same.
    assert "cannot drain" in errors
    assert host.read()["enclaves"] == []


def test_what_is_in_hand_is_finished_before_the_enclave_ends(host: Host) -> None:
    address = f"unix://{host.folder}/worker"
    worker = Worker(address)
    with running(host, link=address) as process:
        host.wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        assert worker.drained.wait(20)
        # Still busy: the enclave must be there.
        assert len(host.read()["enclaves"]) == 1
        worker.idle.set()
        assert finish(process) == (0, "")
    worker.join()
    assert worker.asked[:2] == [Operation.DRAIN, Operation.STATUS]
    assert host.read()["enclaves"] == []


def test_an_enclave_that_died_ends_the_unit_so_that_systemd_restarts_it(host: Host) -> None:
    with running(host) as process:
        host.wait_for("READY=1")
        host.change(enclaves=[])
        code, errors = finish(process)
    assert code == 1
    assert "blindgate-blue has ended" in errors


def test_a_leftover_of_an_earlier_run_is_replaced(host: Host) -> None:
    left = {"EnclaveName": "blindgate-blue", "State": "RUNNING", "Flags": "NONE", "EnclaveID": "x"}
    other = {"EnclaveName": "blindgate-green", "State": "RUNNING", "Flags": "NONE"}
    host.change(enclaves=[left, other])
    with running(host):
        host.wait_for("READY=1")
        found = host.read()["enclaves"]
    assert [each["EnclaveName"] for each in found] == ["blindgate-green", "blindgate-blue"]
    assert found[1]["EnclaveID"] != "x"


def test_an_enclave_in_debug_mode_is_ended_at_once(host: Host) -> None:
    host.change(flags="DEBUG_MODE")
    with running(host) as process:
        code, errors = finish(process)
    assert code == 1
    assert "DEBUG_MODE" in errors
    assert host.read()["enclaves"] == []


def test_a_refusal_of_nitro_cli_is_told_in_one_line(host: Host) -> None:
    with running(host, memory=4) as process:
        code, errors = finish(process)
    assert code == 1
    assert errors.startswith("enclave_unit: nitro-cli run-enclave failed: [ E26 ]")
    assert len(errors.splitlines()) == 1


def test_debug_mode_is_never_asked_for(host: Host) -> None:
    with running(host):
        host.wait_for("READY=1")
    assert not [call for call in host.read()["calls"] if "--debug-mode" in call]
