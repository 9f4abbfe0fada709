"""Runs a few programs together in the foreground, and none of them longer than itself.

Each line that a program prints is shown with the program's name in its own colour. A program
that dies is reported with its last lines; a program that is told to stop and does not is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.text import Text

from blindgate.errors import BlindgateError

_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")
_LAST_LINES: Final = 12
#: A worker loads its model in a second; on a machine with ten times as much to do it takes minutes.
#: One that ends is noticed without waiting.
_START_SECONDS: Final = 240.0
_STOP_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
#: Linux alone can have the kernel stop a child when its parent dies.
_PRCTL: Final = getattr(ctypes.CDLL(None), "prctl", None)
#: Where it cannot, a small process does: it is told the process ids on its standard input, whose
#: other end only the supervisor holds, and stops those processes when that end is closed.
_GUARDIAN: Final = """
import os, signal, sys
pids = []
for line in sys.stdin:
    pid = int(line)
    pids.append(pid) if pid > 0 else pids.remove(-pid)
for pid in reversed(pids):
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
"""


class ProgramDied(BlindgateError):
    """A program ended that should have gone on running."""


class NotReady(BlindgateError):
    """A program runs but does not become ready."""


Check = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Program:
    """One program to run.

    Attributes:
        name: What its lines are tagged with.
        command: Its arguments, the program first.
        environment: What it is given on top of the supervisor's own environment.
        ready: Says whether it does its work yet.
        start_seconds: How long that may take.
    """

    name: str
    command: Sequence[str]
    ready: Check
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = _START_SECONDS


class Supervisor:
    """Starts programs one after the other and stops them all on leaving.

    Args:
        console: Where their lines go; None keeps them for reports only.

    Use::

        async with Supervisor(console) as supervisor:
            await supervisor.start(program)
            await supervisor.wait_for_death()
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._running: dict[str, _Running] = {}
        self._guardian: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by program name."""
        return {name: running.process.pid for name, running in self._running.items()}

    async def start(self, program: Program) -> None:
        """Start a program and wait until it is ready.

        Raises:
            ProgramDied: It ended first; the message holds its last lines.
            NotReady: It is still not ready after its `start_seconds`.
        """
        process = await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **program.environment},
            # Ctrl-C reaches the supervisor alone, which then stops them in the right order.
            start_new_session=True,
            preexec_fn=_die_with_parent if _PRCTL else None,
        )
        await self._guard(process.pid)
        colour = _COLOURS[len(self._running) % len(_COLOURS)]
        running = _Running(program.name, process, colour, self._console)
        self._running[program.name] = running
        ends = time.monotonic() + program.start_seconds
        while not await program.ready():
            if process.returncode is not None:
                await running.pump
                raise ProgramDied(running.report())
            if time.monotonic() > ends:
                raise NotReady(f"{program.name} is not ready after {program.start_seconds:.0f} s")
            await asyncio.sleep(0.05)

    async def wait_for_death(self) -> None:
        """Wait until any program ends.

        Raises:
            ProgramDied: One has; the message holds its last lines.
        """
        pumps = {running.pump: running for running in self._running.values()}
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        running = pumps[done.pop()]
        await running.process.wait()
        raise ProgramDied(running.report())

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one program and forget it once it has ended."""
        running = self._running[name]
        running.process.send_signal(number)
        await running.pump
        await running.process.wait()
        await self._guard(-running.process.pid)
        del self._running[name]

    async def stop(self) -> None:
        """Stop every program, the last one started first."""
        for running in reversed(list(self._running.values())):
            await running.stop()
        self._running.clear()
        if self._guardian is not None:
            # Its list names processes that have ended, whose ids may belong to others by now.
            self._guardian.kill()
            await self._guardian.wait()
            self._guardian = None

    async def _guard(self, pid: int) -> None:
        """Have a process stopped should the supervisor be killed; a negative id forgets it."""
        if _PRCTL:
            return
        if self._guardian is None:
            self._guardian = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-c", _GUARDIAN),
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        if self._guardian.stdin is not None:
            self._guardian.stdin.write(b"%d\n" % pid)
            await self._guardian.stdin.drain()


class _Running:
    def __init__(
        self, name: str, process: asyncio.subprocess.Process, colour: str, console: Console | None
    ) -> None:
        self.process = process
        self._name = name
        self._colour = colour
        self._console = console
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self.pump = asyncio.create_task(self._show())

    async def _show(self) -> None:
        if self.process.stdout is None:
            raise RuntimeError("started without a pipe")
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._last.append(line)
            if self._console:
                tag = Text(f"{self._name:>11} │ ", style=self._colour)
                self._console.print(tag.append(line, style="default"))

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self.pump

    def report(self) -> str:
        status = self.process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit code {status}"
        lines = "\n".join(f"  {line}" for line in self._last) or "  (it printed nothing)"
        return f"{self._name} ended with {how}; its last lines:\n{lines}"


def _die_with_parent() -> None:
    """Have the kernel stop this child should the supervisor itself be killed."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
