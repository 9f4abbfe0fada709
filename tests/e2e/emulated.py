"""The stack with the real enclave image on emulated hardware, driven from a test."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from devstack.places import Places
from devstack.qemu.stack import EmulatedStack
from devstack.stack import Options, Running, kms_client
from devstack.supervisor import Supervisor

#: Building the kernel and the ramdisks for the first time, and booting, on a busy machine.
START_SECONDS = 1800
STEP_SECONDS = 400
Result = TypeVar("Result")


class Emulated:
    """A running stack.

    Attributes:
        running: How to reach it.
        stack: What made it.
        supervisor: Runs its programs.
        places: Its files.
    """

    def __init__(self, architecture: str) -> None:
        self._architecture = architecture
        self.running: Running
        self.stack: EmulatedStack
        self.supervisor: Supervisor
        self.places: Places
        self._log = io.StringIO()
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._started = threading.Event()
        self._fault: Exception | None = None

    def run(self, step: Coroutine[Any, Any, Result]) -> Result:
        """Do something in the supervisor's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(STEP_SECONDS)

    def printed(self) -> str:
        """What the programs have printed so far, the guest's console included."""
        return self._log.getvalue()

    def kms(self, profile: str = "client") -> Any:
        """A boto3 client of the dev KMS."""
        return kms_client(self.places, self.running.kms, profile)

    async def _live(self, folder: Path, model: Path) -> None:
        self.places = Places.prepare(folder)
        options = Options(
            model, gateway_port=0, kms_port=0, enclave="emulated", architecture=self._architecture
        )
        try:
            async with Supervisor(Console(file=self._log, width=10_000)) as self.supervisor:
                self.stack = EmulatedStack(self.places, options, self.supervisor)
                self.running = await self.stack.start()
                self._started.set()
                await self._done.wait()
        except Exception as error:
            self._fault = error
            raise
        finally:
            self._started.set()

    @classmethod
    @contextlib.contextmanager
    def start(cls, model: Path, architecture: str = "x86_64") -> Iterator[Emulated]:
        """Build the image, start everything, and see that it stops."""
        live = cls(architecture)
        with tempfile.TemporaryDirectory(prefix="bg-") as folder:
            thread = threading.Thread(target=live._run, args=(Path(folder), model))
            thread.start()
            try:
                if not live._started.wait(START_SECONDS):
                    raise AssertionError(f"the stack did not start:\n{live.printed()[-4000:]}")
                if live._fault is not None:
                    raise live._fault
                yield live
            finally:
                live._loop.call_soon_threadsafe(live._done.set)
                thread.join()
                live._loop.close()

    def _run(self, folder: Path, model: Path) -> None:
        # What goes wrong is raised where the stack is used, not in its thread.
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._live(folder, model))
