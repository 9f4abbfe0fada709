"""What blindgate-enclave@.service runs: start, watch, restart, drain, end.

nitro-cli is `fake_nitro_cli.py`; systemd and the enclave's worker are sockets of this process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
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
from enclave_image.eif import write
from tests.deploy import terraform as tf
from tests.enclave_image.test_eif import image

SCRIPT = tf.ROOT / "deploy" / "systemd" / "enclave_unit.py"
UNIT = tf.ROOT / "deploy" / "systemd" / "blindgate-enclave@.service"
FAKE = Path(__file__).with_name("fake_nitro_cli.py")


def until(true: Callable[[], Any], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)


class Worker:
    """Answers `drain` and `status` like the enclave's worker, until `crash`."""

    def __init__(self, address: str, outcome: Outcome = Outcome.OK) -> None:
        self.asked: list[Operation] = []
        self.drained = threading.Event()
        self.idle = threading.Event()
        self.outcome = outcome
        self._listener = listen(parse_address(address))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def crash(self) -> None:
        """Stop serving, as a worker that dies, or an enclave that halts."""
        with suppress(OSError):  # wakes the accepting thread, which closing alone does not
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = FrameReader(RequestHeader, FrameLimits(1024))
        with sock, suppress(OSError):
            while count := sock.recv_into(reader.buffer()):
                event = reader.received(count)
                if isinstance(event, RequestHeader):
                    self._answer(sock, event)

    def _answer(self, sock: socket.socket, request: RequestHeader) -> None:
        self.asked.append(request.operation)
        body = b""
        if request.operation is Operation.STATUS and self.outcome is Outcome.OK:
            # Nothing computes, but a response is still on its way. Labels nest in the model.
            status = {"busy": 0, "queued": 0, "in_hand": not self.idle.is_set()}
            body = cbor2.dumps(status | {"model": {"labels": ["label" * 12] * 2000}})
        outcome = self.outcome if request.operation is Operation.STATUS else Outcome.OK
        sock.sendall(AnswerHeader(request.request_id, outcome, len(body)).encode() + body)
        if request.operation is Operation.DRAIN:
            self.drained.set()


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
        # Read all the time, as systemd does: its queue holds some ten messages.
        self.states: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.workers: list[Worker] = []
        self.change()

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state.read_text())
        return found

    def change(self, **values: Any) -> None:
        current = self.read() if self.state.exists() else {"enclaves": [], "calls": []}
        partial = self.state.with_suffix(".test")
        partial.write_text(json.dumps({**current, **values}))
        partial.replace(self.state)

    def calls(self, command: str) -> list[list[str]]:
        return [call for call in self.read()["calls"] if call[0] == command]

    def enclaves(self) -> list[str]:
        return [each["EnclaveName"] for each in self.read()["enclaves"]]

    def address(self, slot: str = "blue") -> str:
        return f"unix://{self.folder}/{slot}"

    def work(self, slot: str = "blue", outcome: Outcome = Outcome.OK) -> Worker:
        """Have a worker serve."""
        worker = Worker(self.address(slot), outcome)
        self.workers.append(worker)
        return worker

    def start(
        self, memory: int = 64, slot: str = "blue", serve: float = 20, period: float = 0.1
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), "--name", f"blindgate-{slot}"]
        command += ["--eif", str(self.eif), "--cid", "16", "--cpus", "2", "--memory", str(memory)]
        command += ["--link", self.address(slot), "--nitro-cli", str(self.cli)]
        command += ["--lock", str(self.folder / "start.lock"), "--period", str(period)]
        command += ["--serve", str(serve), "--pause", "0.1", "--grace", "20"]
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

    def _listen(self) -> None:
        with suppress(OSError):
            while message := self.notified.recv(4096).decode():
                for state in message.splitlines():
                    self.states.put(state)

    def close(self) -> None:
        self.notified.shutdown(socket.SHUT_RDWR)
        self.notified.close()
        for worker in self.workers:
            worker.crash()

    def wait_for(self, state: str) -> None:
        """Wait until systemd has received this, from now on or since the last wait."""
        ends = time.monotonic() + 150
        while (seen := self.states.get(timeout=150)) != state:
            assert time.monotonic() < ends, f"no {state}, the last was {seen}"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


@contextmanager
def running(host: Host, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with host.start(**options) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=150)
    return process.returncode, errors


def stop(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    return finish(process)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_enclave_unit_under_test", SCRIPT)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


# Start and stop.


def test_it_is_ready_once_the_worker_serves_and_ends_the_enclave_on_sigterm(host: Host) -> None:
    host.work().idle.set()
    with running(host) as process:
        host.wait_for("READY=1")
        (enclave,) = host.read()["enclaves"]
        assert (enclave["EnclaveName"], enclave["EnclaveCID"]) == ("blindgate-blue", 16)
        host.wait_for("WATCHDOG=1")
        assert stop(process) == (0, "")
    assert host.enclaves() == []


def test_a_running_enclave_whose_worker_does_not_serve_yet_is_not_ready(host: Host) -> None:
    with running(host) as process:
        until(host.enclaves)
        told: set[str] = set()
        while told != {"WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"}:
            told.add(host.states.get(timeout=120))
            assert "READY=1" not in told
        host.work().idle.set()
        host.wait_for("READY=1")
        assert stop(process)[0] == 0


def test_an_enclave_whose_worker_never_serves_is_a_failed_start(host: Host) -> None:
    with running(host, serve=0.5) as process:
        code, errors = finish(process)
    assert code == 1
    assert "booted, but its worker does not answer" in errors
    assert host.enclaves() == []


def test_what_is_in_flight_is_finished_before_the_enclave_ends(host: Host) -> None:
    worker = host.work()
    with running(host) as process:
        host.wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        assert worker.drained.wait(120)
        # Still busy: the enclave must be there.
        assert host.enclaves() == ["blindgate-blue"]
        worker.idle.set()
        assert finish(process) == (0, "")
    assert worker.asked[worker.asked.index(Operation.DRAIN) + 1] is Operation.STATUS
    assert host.enclaves() == []


def test_sigterm_during_a_boot_ends_the_boot_and_the_enclave(host: Host) -> None:
    host.change(boot_seconds=900)
    with running(host) as process:
        until(lambda: host.calls("run-enclave"))
        began = time.monotonic()
        assert stop(process)[0] == 0
        assert time.monotonic() - began < 300
    assert host.calls("terminate-enclave")


def test_a_leftover_of_an_earlier_run_is_replaced(host: Host) -> None:
    left = {"EnclaveName": "blindgate-blue", "State": "RUNNING", "Flags": "NONE", "EnclaveID": "x"}
    other = {"EnclaveName": "blindgate-green", "State": "RUNNING", "Flags": "NONE"}
    host.change(enclaves=[left, other])
    host.work()
    with running(host):
        host.wait_for("READY=1")
        found = host.read()["enclaves"]
    assert [each["EnclaveName"] for each in found] == ["blindgate-green", "blindgate-blue"]
    assert found[1]["EnclaveID"] != "x"


def test_an_enclave_in_debug_mode_is_ended(host: Host) -> None:
    host.change(flags="DEBUG_MODE")
    host.work()
    with running(host) as process:
        code, errors = finish(process)
    assert code == 1
    assert "DEBUG_MODE" in errors
    assert host.enclaves() == []


def test_a_refusal_of_nitro_cli_is_one_line(host: Host) -> None:
    with running(host, memory=4) as process:
        code, errors = finish(process)
    assert code == 1
    assert errors.startswith("enclave_unit: nitro-cli run-enclave failed: [ E26 ]")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("machine", "arm64", "advice"),
    [
        ("x86_64", True, "is for aarch64 and this instance is x86_64: .+--architecture x86_64"),
        ("aarch64", False, "is for x86_64 and this instance is aarch64: .+--architecture arm64"),
    ],
)
def test_an_image_for_the_other_architecture_is_one_line(
    module: ModuleType, tmp_path: Path, machine: str, arm64: bool, advice: str
) -> None:
    eif = tmp_path / "test.eif"
    eif.write_bytes(write(replace(image(), arm64=arm64)))
    with pytest.raises(module.UnitError, match=advice) as caught:
        module.check_architecture(eif, machine)
    assert "\n" not in str(caught.value)
    eif.write_bytes(write(replace(image(), arm64=not arm64)))
    module.check_architecture(eif, machine)
    for data in (b"", b".eif", bytes(4096)):  # nitro-cli explains these
        eif.write_bytes(data)
        module.check_architecture(eif, machine)


def test_nitro_cli_is_not_asked_to_run_an_image_for_the_other_architecture(host: Host) -> None:
    host.eif.write_bytes(write(replace(image(), arm64=platform.machine() != "aarch64")))
    with running(host) as process:
        code, errors = finish(process)
    assert code == 1
    assert "build it with `blindgate image build --architecture" in errors
    assert host.calls("run-enclave") == []


def test_debug_mode_is_never_asked_for(host: Host) -> None:
    host.work()
    with running(host):
        host.wait_for("READY=1")
    assert host.calls("run-enclave")
    assert not [call for call in host.read()["calls"] if "--debug-mode" in call]


# Boots take long, and one at a time.


def test_nitro_cli_s_own_explanation_of_a_failed_boot_is_waited_for(host: Host) -> None:
    host.change(boots=False, wait_seconds=3)
    with running(host) as process:
        host.wait_for("EXTEND_TIMEOUT_USEC=30000000")
        code, errors = finish(process)
    assert code == 1
    assert errors.startswith("enclave_unit: nitro-cli run-enclave failed: ")
    assert "[ E36 ]" in errors


@pytest.mark.parametrize(
    ("eif_bytes", "memory_mib", "nitro_cli_waits"),
    [
        (1, 64, 180),
        (150 * 1024**2, 1344, 180),
        (6 * 1024**3, 100 * 1024, 180),
        (6 * 1024**3 + 1, 100 * 1024, 270),
        (6 * 1024**3, 100 * 1024 + 1, 270),
        (13 * 1024**3, 201 * 1024, 540),
    ],
)
def test_a_boot_may_take_longer_than_nitro_cli_waits(
    module: ModuleType, eif_bytes: int, memory_mib: int, nitro_cli_waits: int
) -> None:
    assert module.boot_seconds(eif_bytes, memory_mib) == nitro_cli_waits + 60


def test_systemd_waits_longer_than_the_unit_for_a_usual_boot(module: ModuleType) -> None:
    found = re.search(r"^TimeoutStartSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
    assert found
    assert module.boot_seconds(150 * 1024**2, 1344) == 240
    assert int(found[1]) == 300


def test_ten_failing_boots_of_the_longest_kind_reach_the_start_limit(module: ModuleType) -> None:
    text = UNIT.read_text()
    assert "\nStartLimitIntervalSec=1h\nStartLimitBurst=10\n" in text
    assert 10 * (module.boot_seconds(150 * 1024**2, 1344) + 3) < 3600


def test_two_slots_that_start_together_boot_one_after_the_other(host: Host) -> None:
    host.change(boot_seconds=1.0)
    host.work("blue")
    host.work("green")
    with running(host, slot="blue") as blue, running(host, slot="green") as green:
        until(lambda: len(host.enclaves()) == 2)
        assert (blue.poll(), green.poll()) == (None, None)
    assert sorted(host.enclaves()) == ["blindgate-blue", "blindgate-green"]
    assert len(host.calls("run-enclave")) == 2


def test_without_the_lock_the_stand_in_refuses_the_second_boot(host: Host) -> None:
    """Proof that the test above sees what the lock is for."""
    host.change(boot_seconds=2.0)
    command = [str(host.cli), "run-enclave", "--enclave-name", "a", "--eif-path", str(host.eif)]
    command += ["--enclave-cid", "16", "--cpu-count", "2", "--memory", "64"]
    environment = {**os.environ, "FAKE_NITRO_STATE": str(host.state)}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as first:
        assert first.stderr
        assert first.stderr.readline() == "Start allocating memory...\n"
        second = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "[ E36 ]" in second.stderr


# While it runs.


def test_a_crashed_enclave_is_restarted_inside_the_unit(host: Host) -> None:
    """More often than systemd's start limit allows: these restarts do not count there."""
    with running(host) as process:
        for started in range(1, 12):
            worker = host.work()
            host.wait_for("READY=1")
            assert len(host.calls("run-enclave")) == started
            worker.crash()
            host.change(enclaves=[])
            host.wait_for("STATUS=restarting the enclave")
        assert process.poll() is None


def test_a_halted_enclave_that_nitro_cli_calls_running_is_restarted(host: Host) -> None:
    worker = host.work()
    with running(host) as process:
        host.wait_for("READY=1")
        (first,) = host.read()["enclaves"]
        worker.crash()
        host.wait_for("STATUS=restarting the enclave")
        host.work().idle.set()
        host.wait_for("READY=1")
        (second,) = host.read()["enclaves"]
        assert first["EnclaveID"] != second["EnclaveID"]
        code, errors = stop(process)
    assert code == 0
    assert "does not serve" in errors


def test_a_worker_that_misses_two_looks_is_left_alone(host: Host) -> None:
    worker = host.work()
    with running(host, period=1) as process:
        host.wait_for("READY=1")
        worker.crash()
        assert process.stderr
        while "2 of 3" not in process.stderr.readline():
            pass
        host.work().idle.set()
        until(lambda: len(host.calls("describe-enclaves")) >= 5)
        assert process.poll() is None
    assert len(host.calls("run-enclave")) == 1


@pytest.mark.parametrize("outcome", [Outcome.OVERLOADED, Outcome.DEADLINE_EXCEEDED])
def test_a_worker_that_is_too_busy_for_its_status_is_alive(host: Host, outcome: Outcome) -> None:
    worker = host.work()
    with running(host):
        host.wait_for("READY=1")
        worker.outcome = outcome
        seen = len(worker.asked)
        until(lambda: len(worker.asked) > seen + 6)
    assert host.calls("terminate-enclave") == []


def test_a_worker_that_only_fails_does_not_serve(host: Host) -> None:
    host.work(outcome=Outcome.INTERNAL_ERROR)
    with running(host, serve=0.5) as process:
        code, errors = finish(process)
    assert (code, host.enclaves()) == (1, [])
    assert "internal-error" in errors


GREEN = {"EnclaveName": "blindgate-green", "State": "RUNNING", "Flags": "NONE"}


def test_the_end_of_another_enclave_does_not_concern_ours(host: Host) -> None:
    """describe-enclaves prints our enclave, and fails with E39 because of the other one."""
    host.change(enclaves=[GREEN], ending=["blindgate-green"])
    host.work()
    with running(host):
        host.wait_for("READY=1")
        seen = len(host.calls("describe-enclaves"))
        until(lambda: len(host.calls("describe-enclaves")) > seen + 4)
        assert host.enclaves() == ["blindgate-green", "blindgate-blue"]
    assert host.calls("terminate-enclave") == []


@pytest.mark.parametrize(
    "change",
    [
        {"broken": "[ E19 ] File operation failure: the log file cannot be opened"},
        {"ending": ["blindgate-blue"]},  # E39 for our own process, which does not answer
        {"enclaves": [GREEN], "ending": ["blindgate-green"]},  # E39, and ours is not printed
    ],
    ids=["no list", "our process is slow", "a list without ours"],
)
def test_a_failing_nitro_cli_never_ends_an_enclave_that_serves(
    host: Host, change: dict[str, Any]
) -> None:
    host.work()
    with running(host):
        host.wait_for("READY=1")
        host.change(**change)
        seen = len(host.calls("describe-enclaves"))
        until(lambda: len(host.calls("describe-enclaves")) > seen + 4)
    assert host.calls("terminate-enclave") == []
    assert len(host.calls("run-enclave")) == 1


def test_a_nitro_cli_that_fails_at_the_start_is_asked_three_times(host: Host) -> None:
    host.change(broken="[ E19 ] File operation failure")
    with running(host) as process:
        code, errors = finish(process)
    assert code == 1
    assert errors.splitlines()[-1].startswith("enclave_unit: nitro-cli describe-enclaves failed: [")
    assert [call[0] for call in host.read()["calls"]] == ["describe-enclaves"] * 3


def test_entries_that_are_no_objects_are_passed_over(host: Host) -> None:
    host.change(enclaves=["?", None, 3])
    host.work().idle.set()
    with running(host) as process:
        host.wait_for("READY=1")
        assert stop(process) == (0, "")


@pytest.mark.parametrize("printed", ["", "not JSON", "{}", "null", '"[]"'])
def test_a_list_that_is_none_is_a_failed_query_and_not_the_end(host: Host, printed: str) -> None:
    host.work()
    with running(host):
        host.wait_for("READY=1")
        marker = host.folder / "asked"
        (host.folder / "broken-cli").write_text(
            f"#!/bin/sh\necho x >> {marker}\nprintf '%s' '{printed}'\n"
        )
        (host.folder / "broken-cli").chmod(0o755)
        (host.folder / "broken-cli").replace(host.cli)
        until(lambda: marker.exists() and len(marker.read_text().splitlines()) > 4)
    assert host.calls("terminate-enclave") == []


def test_another_enclave_s_debug_mode_is_not_ours(host: Host) -> None:
    host.change(enclaves=[GREEN | {"Flags": "DEBUG_MODE"}])
    host.work()
    with running(host):
        host.wait_for("READY=1")


def test_an_enclave_that_someone_restarted_in_debug_mode_is_replaced(host: Host) -> None:
    host.work()
    with running(host):
        host.wait_for("READY=1")
        (ours,) = host.read()["enclaves"]
        host.change(enclaves=[ours | {"Flags": "DEBUG_MODE"}])
        host.wait_for("READY=1")
        assert [each["Flags"] for each in host.read()["enclaves"]] == ["NONE"]
