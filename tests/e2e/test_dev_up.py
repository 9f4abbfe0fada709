"""`blindgate dev up` as a person meets it: starting, stopping, and what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from blindgate import problems
from blindgate.client import Blindgate
from blindgate.client.trust import development
from devstack.stack import is_alive
from tests.e2e.live import LiveStack, live_stack

pytestmark = pytest.mark.e2e

PROGRAMS = {"kms", "nsm", "vsock-proxy", "worker", "gateway"}


def wait_until_ended(pids: list[int], seconds: float = 120) -> list[int]:
    """The processes that still run after a while."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and any(map(is_alive, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_alive(pid)]


def test_it_says_how_to_use_it_and_ctrl_c_stops_every_program() -> None:
    with live_stack() as stack:
        pids = list(stack.running.pids.values())
        assert stack.running.pids.keys() == PROGRAMS
        assert all(map(is_alive, pids))
        while "In another shell" not in stack.printed():
            time.sleep(0.05)
        printed = stack.printed()
        curl = "curl --data-binary @PHOTO.encrypted -H 'content-type: application/octet-stream' "
        assert f"{curl}{stack.url}/v1/detections\n" in printed
        assert stack.running.key_alias in printed
        assert "     worker │ ready" in printed
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(150) == 0
        assert wait_until_ended(pids) == []
        status = stack.cli("dev", "status", "--state", stack.running.state)
        assert status.returncode == 1
        assert "nothing runs" in status.stderr


def hints(printed: str) -> list[str]:
    """The commands that are printed for another shell."""
    block = printed.partition("In another shell:")[2].partition("\u2500")[0]
    return [line.strip() for line in block.splitlines() if line.strip()]


def test_the_hints_work_as_they_are_printed(coffee: Path, tmp_path: Path) -> None:
    """In a folder that is not the default one, whose name a shell would split."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(coffee.read_bytes())
    with live_stack(name="my state") as stack:
        while len(lines := hints(stack.printed())) < 5:
            time.sleep(0.05)
        script = "\n".join(["set -eu", *lines, "set"]).replace("PHOTO", str(photo))
        done = subprocess.run(
            ["sh", "-c", script],
            # None of the variables that the stack's own shell has.
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "cup" in done.stdout
        assert "VERIFIED: pcrs.json" in done.stdout
        # With the variables, the gateway need not be named any more.
        assert f"BLINDGATE_GATEWAY='{stack.url}'" in done.stdout
        assert "BLINDGATE_TRUST" not in done.stdout


def test_a_program_that_dies_is_reported_with_its_last_lines_and_ends_the_others() -> None:
    with live_stack() as stack:
        os.kill(stack.running.pids["worker"], signal.SIGKILL)
        assert stack.process.wait(150) == 1
        assert "worker ended with signal 9; its last lines:\n  starting\n  ready" in stack.printed()
        assert wait_until_ended(list(stack.running.pids.values())) == []


def test_a_second_stack_in_the_same_folder_is_refused(stack: LiveStack) -> None:
    done = stack.cli("dev", "up", "--state", stack.running.state, "--port", "0")
    assert done.returncode == 1
    assert f"runs in {stack.running.state} already" in done.stderr
    assert stack.url in done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["dev", "up", "--state", str(tmp_path), "--port", str(port), "--kms-port", "0"]
        done = subprocess.run(
            [sys.executable, "-m", "blindgate", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_is_measured_sealed_gives_no_open_answer(coffee: Path) -> None:
    with live_stack("--sealed-answers-only") as stack:
        octets = {"content-type": "application/octet-stream"}
        answer = httpx.post(f"{stack.url}/v1/detections", content=b"\x02\x04\x78", headers=octets)
        assert answer.status_code == problems.SEALED_ANSWERS_ONLY.status
        assert answer.json()["type"] == problems.SEALED_ANSWERS_ONLY.type
        with Blindgate(stack.url, trust=development(Path(stack.running.state))) as client:
            found = client.detect(coffee)
        assert "cup" in {each.label for each in found.detections}
