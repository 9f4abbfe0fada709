"""The demo, the dev stack and the SDK without what only Linux has (macOS, as far as it goes)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devstack.stack import is_alive
from tests.e2e.live import LiveStack, live_stack

HERE = Path(__file__).parent / "not_linux"
PROGRAMS = {"kms", "nsm", "vsock-proxy", "worker", "gateway"}
ENDS_SECONDS = 30
"""A bound against waiting for ever; the processes end in a fraction of a second."""

pytestmark = pytest.mark.e2e


def environment(seen: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(HERE), "BLINDGATE_TEST_NOT_LINUX": str(seen)}


def run(stack: LiveStack, seen: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "blindgate", *map(str, arguments)],
        env=stack.environment | environment(seen) | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stand_in_takes_away_what_only_linux_has(tmp_path: Path) -> None:
    code = (
        "import ctypes, os, socket\n"
        "gone = [hasattr(os, 'sched_getaffinity'), hasattr(os, 'sched_setscheduler'),\n"
        "    hasattr(socket, 'AF_VSOCK'), hasattr(socket, 'SOCK_CLOEXEC'),\n"
        "    hasattr(ctypes.CDLL(None), 'prctl'), os.path.exists('/proc/self')]\n"
        "try:\n"
        "    socket.socket(socket.AF_UNIX).bind('/tmp/' + 'a' * 99)\n"
        "except OSError:\n"
        "    print(gone)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment(tmp_path / "seen"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{[False] * 6}\n"


def test_a_whole_stack_runs_without_what_only_linux_has(coffee: Path, tmp_path: Path) -> None:
    seen, encrypted = tmp_path / "seen", tmp_path / "coffee.png.encrypted"
    with live_stack(environment=environment(seen)) as stack:
        assert stack.running.pids.keys() == PROGRAMS
        assert set(stack.running.pids.values()) <= set(map(int, seen.read_text().split()))
        run(
            stack, seen,
            "encrypt", coffee, "--key-id", stack.running.key_alias, "--output", encrypted,
        )  # fmt: skip
        assert "cup" in run(stack, seen, "detect", encrypted, "--gateway", stack.url)
        sealed = ("detect", coffee, "--gateway", stack.url, "--trust", "development")
        assert "cup" in run(stack, seen, *sealed)
        assert "VERIFIED" in run(
            stack, seen,
            "verify", stack.url, "--pcrs", f"{stack.running.state}/pcrs.json",
            "--dev-root", f"{stack.running.state}/root.pem",
        )  # fmt: skip
        # No kernel ends the programs of a supervisor that is killed; something else does.
        stack.process.kill()
        stack.process.wait(ENDS_SECONDS)
        ends = time.monotonic() + ENDS_SECONDS
        while any(map(is_alive, stack.running.pids.values())):
            assert time.monotonic() < ends, "programs outlive their supervisor"
            time.sleep(0.05)


def test_the_demo_runs_without_what_only_linux_has(tmp_path: Path) -> None:
    output = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "blindgate", "dev", "demo", "--output", str(output)],
        env=os.environ | environment(tmp_path / "seen") | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "cup" in done.stdout
    assert "Done in " in done.stdout
    assert "nan" not in done.stdout
    assert (output / "coffee.detections.png").is_file()
