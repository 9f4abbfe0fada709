"""`python -m gateway` as a process: how it starts, stops and refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.settings import Settings
from tests.gateway.conftest import OCTETS
from tests.gateway.fake_worker import PCRS, dev_root, running

pytestmark = pytest.mark.anyio


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BLINDGATE_", "AWS_"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true"}


def trusted(folder: Path) -> list[str]:
    pcrs, root = folder / "pcrs.json", folder / "root.pem"
    pcrs.write_text(json.dumps({f"PCR{n}": value.hex() for n, value in PCRS.items()}))
    root.write_bytes(dev_root().pem)
    return ["--pcrs", str(pcrs), "--root", str(root)]


async def test_it_serves_and_on_sigterm_finishes_what_it_has(
    tmp_path: Path, unused_port: int
) -> None:
    release = asyncio.Event()

    async def wait(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        await release.wait()
        return Outcome.OK, b"{}"

    url = f"http://127.0.0.1:{unused_port}"
    async with running(tmp_path / "worker") as worker:
        worker.answers[Operation.DETECT] = wait
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "--port",
            str(unused_port),
            "--enclaves",
            str(worker.address),
            *trusted(tmp_path),
            env=environment(),
            stdout=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30), httpx.AsyncClient(timeout=20) as http:
                while True:
                    try:
                        if (await http.get(f"{url}/readyz")).is_success:
                            break
                    except httpx.ConnectError:
                        pass
                    await asyncio.sleep(0.05)
                sent = asyncio.create_task(
                    http.post(f"{url}/v1/detections", content=b"x", headers=OCTETS)
                )
                while not worker.of(Operation.DETECT):
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                release.set()
                assert (await sent).status_code == 200
                output, _ = await process.communicate()
                assert process.returncode in (0, -signal.SIGTERM)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"time", "level", "logger", "event"} <= set(lines[0])
    assert [line for line in lines if line.get("route") == "/v1/detections"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "99999"], "port"),
        (["--enclaves", "tcp://somewhere"], "tcp://somewhere"),
        (["--byte-budget", "2000", "--max-body", "4000"], "byte_budget"),
        (["--enclaves", "unix:///w"], "no measurements"),
        (["--pcrs", "/nowhere.json"], "/nowhere.json"),
    ],
)
def test_it_says_in_one_line_what_is_wrong_with_its_settings(
    arguments: list[str], named: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_lists_come_from_variables_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLINDGATE_ENCLAVES", "unix:///a, vsock://16:5005")
    monkeypatch.setenv("BLINDGATE_PCRS", "old.json,new.json")
    settings = Settings()
    assert settings.enclaves == ("unix:///a", "vsock://16:5005")
    assert settings.pcrs == (Path("old.json"), Path("new.json"))
