"""The worker as a process: what its surroundings can do to it, and how it ends."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from enclave_app import __main__ as worker
from enclave_app import hardening
from enclave_app.nsm import NsmUnavailable, open_nsm
from enclave_app.nsm.device import DeviceNsm
from tests.enclave_app.test_config import GOOD

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trap(tmp_path: Path) -> Any:
    """A socket that a worker could take for a security module, and who connected to it."""
    path = tmp_path / "nsm"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        yield path, listener


def nobody_connected(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_a_socket_in_the_device_s_place_is_not_opened(
    trap: tuple[Path, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listener = trap
    with pytest.raises(NsmUnavailable):
        DeviceNsm(str(path))
    monkeypatch.setattr("enclave_app.nsm.DEVICE", str(path))
    with pytest.raises(NsmUnavailable, match="cannot open"):
        open_nsm(str(path))
    assert nobody_connected(listener)


@pytest.mark.skipif(Path("/dev/nsm").exists(), reason="this machine has a security module")
def test_a_worker_measured_with_the_device_never_takes_a_socket(
    trap: tuple[Path, socket.socket], tmp_path: Path
) -> None:
    path, listener = trap
    (tmp_path / "enclave.toml").write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "enclave_app", "--config", tmp_path / "enclave.toml"],
        env={**os.environ, "NSM": f"unix://{path}", "BLINDGATE_NSM": f"unix://{path}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "starting\nenclave_app: cannot open /dev/nsm: No such file or directory\n"
    assert nobody_connected(listener)


# Core files -------------------------------------------------------------------------------------

SHOW_DUMPS = """
import ctypes, resource
from enclave_app.hardening import forbid_dumps
forbid_dumps()
prctl = getattr(ctypes.CDLL(None), "prctl", None)
print(resource.getrlimit(resource.RLIMIT_CORE), prctl(3, 0, 0, 0, 0) if prctl else 0)
"""


def test_neither_core_files_nor_tracing_are_possible() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_DUMPS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "(0, 0) 0\n"


def test_a_system_without_prctl_still_writes_no_core_file(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Any] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *given: limits.append(given))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    hardening.forbid_dumps()
    assert limits == [(resource.RLIMIT_CORE, (0, 0))]


def test_core_files_are_off_before_anything_secret_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(sys, "argv", ["enclave_app", "--config", "enclave.toml"])
    monkeypatch.setattr(worker, "forbid_dumps", lambda: steps.append("dumps"))
    monkeypatch.setattr(worker, "_run", lambda path, ready_fd: steps.append(str(path)))
    worker.main()
    assert steps == ["dumps", "enclave.toml"]


# How it ends ------------------------------------------------------------------------------------


class FakeServer:
    """A link server whose listener fails, or serves until it is closed."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self._closed = threading.Event()
        self.serving = threading.Event()
        self.calls: list[str] = []

    def serve_forever(self) -> None:
        self.serving.set()
        if self._error is not None:
            raise self._error
        assert self._closed.wait(10)

    def wait_until_idle(self, seconds: float) -> bool:
        assert seconds == 30
        self.calls.append("idle")
        return True

    def close(self) -> None:
        self.calls.append("close")
        self._closed.set()


class FakeKeyring:
    def __init__(self) -> None:
        self.looked = threading.Event()

    def rotate_if_due(self) -> None:
        self.looked.set()


class FakeService:
    def __init__(self) -> None:
        self.drained = False

    def drain(self) -> None:
        self.drained = True


@pytest.fixture
def _signals() -> Any:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("error", [OSError(9, "Bad file descriptor"), ValueError("a bug")])
def test_a_worker_that_accepts_nothing_any_more_drains_and_ends_with_an_error(
    error: Exception,
) -> None:
    server, service = FakeServer(error), FakeService()
    with pytest.raises(worker.ListenerFailed, match="no connection can be accepted"):
        worker._serve(server, service, FakeKeyring())  # type: ignore[arg-type]
    assert service.drained
    assert server.calls == ["idle", "close"]


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_without_an_error(number: signal.Signals) -> None:
    server, service = FakeServer(None), FakeService()

    def send() -> None:
        assert server.serving.wait(10)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    worker._serve(server, service, FakeKeyring())  # type: ignore[arg-type]
    sender.join()
    assert service.drained
    assert server.calls == ["idle", "close"]


@pytest.mark.usefixtures("_signals")
def test_an_idle_worker_looks_after_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker._TIMER_SECONDS <= 60
    monkeypatch.setattr(worker, "_TIMER_SECONDS", 0.01)
    server, keyring = FakeServer(None), FakeKeyring()

    def send() -> None:
        assert keyring.looked.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    worker._serve(server, FakeService(), keyring)  # type: ignore[arg-type]
    sender.join()
