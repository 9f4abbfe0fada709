"""What the dev stack does where a system lacks what Linux has."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from blindgate.link.addresses import MAX_UNIX_PATH, parse_address
from blindgate.link.dial import dial, listen
from blindgate.link.errors import DialError
from devstack import demo, supervisor
from devstack.places import Places
from devstack.supervisor import Program, Supervisor
from enclave_app.scheduling import cores

WAIT_SECONDS = 30
"""A bound against waiting for ever."""


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _wait_until_ended(pid: int) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not _ended(pid):
        assert time.monotonic() < ends, f"process {pid} still runs"
        time.sleep(0.02)


KILLED = """
import asyncio, os, signal, sys
from devstack import supervisor

supervisor._PRCTL = None

async def ready():
    return True

async def main():
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    async with supervisor.Supervisor(None) as programs:
        for name in ("one", "two", "three"):
            await programs.start(supervisor.Program(name, sleep, ready))
        pids = dict(programs.pids)
        await programs.kill("two")
        print(programs._guardian.pid, *pids.values(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_programs_end_with_a_supervisor_that_is_killed_without_prctl() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == -signal.SIGKILL
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 4
    for pid in pids:
        _wait_until_ended(pid)


def test_a_supervisor_that_ends_takes_its_guardian_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PRCTL", None)

    async def ready() -> bool:
        return True

    programs = Supervisor(None)

    async def run() -> int:
        async with programs:
            sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
            await programs.start(Program("one", sleep, ready))
            assert programs._guardian is not None
            guardian = programs._guardian.pid
            assert not _ended(guardian)
        return guardian

    assert _ended(asyncio.run(run()))


@pytest.mark.parametrize("length", [20, 49, 90])
def test_sockets_fit_macos_wherever_the_state_and_temporary_folders_are(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as short:
        # macOS has 49 bytes: /var/folders/q2/0123456789012345678901234567890/T/
        folder = Path(short) / ("t" * max(1, length - len(short) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        for state in (tmp_path / ("s" * 120), folder / "state"):
            places = Places.prepare(state)
            try:
                assert len(str(places.sockets / "vsock-proxy.sock")) <= MAX_UNIX_PATH
                with listen(parse_address(places.socket("worker"))):
                    pass
            finally:
                places.tidy()


def test_addresses_have_the_length_that_every_system_takes() -> None:
    assert MAX_UNIX_PATH == 103


@pytest.mark.parametrize("use", [lambda address: dial(address, 1), listen])
def test_a_system_without_vsock_says_so(use: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_VSOCK")
    assert callable(use)
    with pytest.raises(DialError, match="only Linux has vsock"):
        use(parse_address("vsock://16:5005"))


def test_the_cores_of_the_machine_stand_in_for_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cores.usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores.usable_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1


def test_threads_keep_their_class_where_no_other_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from enclave_app.detector import session

    monkeypatch.delattr(os, "sched_setscheduler")
    session._run_when_idle(os.getpid())


def test_the_demo_does_not_name_a_peak_that_it_does_not_know(tmp_path: Path) -> None:
    assert demo._peak_memory(os.getpid(), tmp_path) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tpython\nVmHWM:\t  192000 kB\n")
    assert demo._peak_memory(7, tmp_path) == pytest.approx(196.608)
