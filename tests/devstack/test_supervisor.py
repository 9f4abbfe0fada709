"""Programs that run together and stop together."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from devstack.supervisor import Program, ProgramDied, Supervisor


def program(name: str, code: str, ready: Path | None = None) -> Program:
    async def check() -> bool:
        return ready is None or ready.exists()

    return Program(name, [sys.executable, "-c", code], check)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SLEEP = "import time; time.sleep(600)"


def test_every_program_is_stopped_on_leaving() -> None:
    async def run() -> list[int]:
        async with Supervisor(None) as supervisor:
            await supervisor.start(program("one", SLEEP))
            await supervisor.start(program("two", SLEEP))
            return list(supervisor.pids.values())

    pids = asyncio.run(run())
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_a_program_that_dies_at_the_start_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    async def run() -> None:
        async with Supervisor(None) as supervisor:
            code = "print('no such key'); raise SystemExit(3)"
            await supervisor.start(program("worker", code, tmp_path / "never"))

    with pytest.raises(ProgramDied, match=r"worker ended with exit code 3.*\n  no such key"):
        asyncio.run(run())


def test_a_program_that_dies_later_is_reported_and_the_others_are_stopped() -> None:
    pids: list[int] = []

    async def run() -> None:
        async with Supervisor(None) as supervisor:
            await supervisor.start(program("kms", SLEEP))
            await supervisor.start(program("worker", SLEEP))
            pids.extend(supervisor.pids.values())
            os.kill(pids[1], signal.SIGKILL)
            await supervisor.wait_for_death()

    with pytest.raises(ProgramDied, match="worker ended with signal 9"):
        asyncio.run(run())
    assert not any(map(is_running, pids))


def test_lines_are_tagged_with_the_programs_name(tmp_path: Path) -> None:
    written = io.StringIO()

    async def run() -> None:
        async with Supervisor(Console(file=written, width=80)) as supervisor:
            done = tmp_path / "done"
            code = f"print('hello'); open({str(done)!r}, 'w'); {SLEEP}"
            await supervisor.start(program("gateway", code, done))
            while "hello" not in written.getvalue():
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert written.getvalue() == "    gateway │ hello\n"


def test_a_program_does_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = (
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    code = (
        "import asyncio, sys\n"
        "from devstack.supervisor import Program, Supervisor\n"
        "async def main():\n"
        "    async def ready():\n"
        "        return False\n"
        "    async with Supervisor(None) as s:\n"
        f"        await s.start(Program('p', [sys.executable, '-c', {child!r}], ready))\n"
        "asyncio.run(main())\n"
    )

    async def run() -> int:
        supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(0.02)
        supervisor.kill()
        await supervisor.wait()
        pid = int(pid_file.read_text())
        for _ in range(250):
            if not is_running(pid):
                break
            await asyncio.sleep(0.02)
        return pid

    assert not is_running(asyncio.run(run()))
