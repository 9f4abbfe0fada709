"""A whole stack of real processes over real sockets, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from devstack.stack import Running

# Bounds against waiting for ever, not performance: a busy machine may take ten times as long.
START_SECONDS = 300
LINE_SECONDS = 120
COMMAND_SECONDS = 300
STOP_SECONDS = 120


def wait_for_line(answer: httpx.Response, read: Callable[[], str]) -> None:
    """Wait for the gateway's line about a request: those before it are then written, too."""
    ends = time.monotonic() + LINE_SECONDS
    while answer.headers["x-request-id"] not in read():
        assert time.monotonic() < ends, "the gateway wrote nothing of a request"
        time.sleep(0.02)


@dataclass(frozen=True)
class LiveStack:
    """A stack that `blindgate dev up` runs.

    Attributes:
        running: How to reach it.
        process: The supervisor.
        log: Everything that its programs printed.
    """

    running: Running
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        return self.running.gateway

    @property
    def environment(self) -> dict[str, str]:
        """What a data owner's shell has."""
        state = {"BLINDGATE_DEV_ROOT": self.running.state}
        return {**os.environ, **self.running.client_environment(), **state}

    def cli(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `blindgate` as the data owner."""
        return subprocess.run(
            [sys.executable, "-m", "blindgate", *map(str, arguments)],
            env=self.environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )

    def kms(self, profile: str = "client") -> Any:
        """A boto3 client of the dev KMS, as `client`, `admin` or `parent`."""
        from devstack.places import Places
        from devstack.stack import kms_client

        return kms_client(Places(Path(self.running.state), Path()), self.running.kms, profile)

    def printed(self) -> str:
        """What the programs have printed so far, of every request that was answered."""

        def read() -> str:
            return self.log.read_text(errors="replace")

        with suppress(httpx.TransportError):  # it has ended, and written all
            answer = httpx.get(f"{self.url}/livez", timeout=120, trust_env=False)
            wait_for_line(answer, read)
        return read()


@contextmanager
def live_stack(
    *options: str, environment: Mapping[str, str] | None = None, name: str = "s"
) -> Iterator[LiveStack]:
    """Run a stack on free ports in a folder of this name, and see that it stops."""
    with tempfile.TemporaryDirectory(prefix="bg-") as folder:
        state, log = Path(folder) / name, Path(folder) / "log"
        command = [sys.executable, "-m", "blindgate", "dev", "up", "--state", str(state)]
        command += ["--port", "0", "--kms-port", "0", "--no-console", *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )
            try:
                running = _wait(process, state, log)
                yield LiveStack(running, process, log)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                process.wait(timeout=STOP_SECONDS)


def _wait(process: subprocess.Popen[bytes], state: Path, log: Path) -> Running:
    ends = time.monotonic() + START_SECONDS
    file = state / "running.json"
    while time.monotonic() < ends and process.poll() is None:
        if file.exists() and (text := file.read_text()).endswith("}\n"):
            return Running(**json.loads(text))
        time.sleep(0.05)
    raise AssertionError(f"the stack did not start:\n{log.read_text(errors='replace')}")
