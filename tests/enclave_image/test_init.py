"""The first process of the enclave, as far as it runs outside of one."""

from __future__ import annotations

import os
import re
import socket
import threading
import time

import pytest

from enclave_image import init, layers

CONFIG = '[kms]\naddress = "vsock://{}:8000"\n'


def test_the_interpreter_reads_neither_environment_nor_site() -> None:
    first = layers.INIT.read_text().splitlines()[0]
    assert first == "#!/usr/bin/python3.13 -ISB"


def test_nothing_is_mounted_but_memory_and_the_kernel() -> None:
    mounted = re.findall(r'_mount\("(\w+)", "(\S+)",', layers.INIT.read_text())
    assert mounted == [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("rootfs", "/"),
    ]


def test_the_worker_gets_constants_as_its_environment() -> None:
    assert init.ENVIRONMENT == {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "2097152",
        "MALLOC_TRIM_THRESHOLD_": "16777216",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHOME": "/usr",
        "PYTHONPATH": "/opt/blindgate/app:/opt/blindgate/site",
        "PYTHONUNBUFFERED": "1",
    }


def test_the_heartbeat_goes_to_the_parent_that_the_configuration_names() -> None:
    assert init.parent_cid(CONFIG.format(2)) == 2
    assert init.parent_cid('[kms]\naddress = "unix:///x"') == 3
    assert init.parent_cid("") == 3


@pytest.mark.parametrize(("response", "expected"), [(b"\xb7", True), (b"\x00", False)])
def test_a_heartbeat_is_one_byte_that_comes_back(response: bytes, expected: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(response)
        assert init.exchange_heartbeat(ours) is expected
        assert theirs.recv(8) == b"\xb7"


def announced(monkeypatch: pytest.MonkeyPatch, results: list[bool]) -> list[int]:
    """Replace the exchange with the parent; the CIDs that were tried are collected."""
    tried: list[int] = []

    def send(cid: int) -> bool:
        tried.append(cid)
        return results[len(tried) - 1]

    monkeypatch.setattr(init, "_send_heartbeat", send)
    monkeypatch.setattr(init, "_BEAT_PAUSE", 0.0)
    return tried


def test_no_heartbeat_before_the_worker_accepts_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = announced(monkeypatch, [True])
    ready, tell = os.pipe()
    announcing = threading.Thread(target=init.announce, args=(ready, 3))
    announcing.start()
    time.sleep(0.1)
    assert tried == []
    os.write(tell, b"\n")
    announcing.join(10)
    assert tried == [3]
    os.close(tell)


def test_a_worker_that_ends_first_sends_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = announced(monkeypatch, [True])
    ready, tell = os.pipe()
    os.close(tell)
    init.announce(ready, 3)
    assert tried == []


def test_a_heartbeat_that_is_not_answered_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = announced(monkeypatch, [False, False, True])
    ready, tell = os.pipe()
    os.write(tell, b"\n")
    init.announce(ready, 16)
    os.close(tell)
    assert tried == [16, 16, 16]


def test_heartbeats_end_after_thirty_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = announced(monkeypatch, [False] * 100)
    ready, tell = os.pipe()
    os.write(tell, b"\n")
    init.announce(ready, 3)
    os.close(tell)
    assert len(tried) == 30


@pytest.mark.parametrize("behind", [5.0, -5.0, 0.01])
def test_the_clock_follows_the_hypervisors(behind: float) -> None:
    written: list[float] = []
    corrected = init.correct_clock(lambda: time.time() + behind, written.append)
    assert corrected == pytest.approx(behind, abs=0.005)
    assert written[0] == pytest.approx(time.time() + behind, abs=0.5)


def test_a_difference_below_a_millisecond_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    written: list[float] = []
    assert init.correct_clock(lambda: 1000.0009, written.append) == 0.0
    assert written == []


def test_a_devices_clock_has_the_kernels_number() -> None:
    # `man 2 clock_gettime`, "Dynamic clocks": FD_TO_CLOCKID.
    assert init.clock_id(3) == -29
    assert init.clock_id(0) == -5
