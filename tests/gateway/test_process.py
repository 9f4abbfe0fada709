"""`python -m gateway` as a process: how it starts, stops and refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.audit.chain import verify
from gateway.http.edge import Edge
from gateway.settings import Settings
from tests.gateway.conftest import OCTETS
from tests.gateway.fake_worker import PCRS, FakeWorker, dev_root, running

pytestmark = pytest.mark.anyio


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BLINDGATE_", "AWS_"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true"}


def trusted(folder: Path) -> list[str]:
    pcrs, root = folder / "pcrs.json", folder / "root.pem"
    pcrs.write_text(json.dumps({f"PCR{n}": value.hex() for n, value in PCRS.items()}))
    root.write_bytes(dev_root().pem)
    return ["--pcrs", str(pcrs), "--root", str(root)]


@asynccontextmanager
async def gateway_process(
    folder: Path, port: int, worker: FakeWorker, *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """A gateway that is ready, and a client of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "--port",
        str(port),
        "--enclaves",
        str(worker.address),
        *trusted(folder),
        *arguments,
        env=environment(),
        stdout=subprocess.PIPE,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            async with asyncio.timeout(60):
                while not await _is_ready(http):
                    await asyncio.sleep(0.05)
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).is_success
    except httpx.ConnectError:
        return False


async def _until_nobody_listens(port: int) -> None:
    """The first thing that a server does that is told to end."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def test_it_serves_and_on_sigterm_finishes_what_it_has(
    tmp_path: Path, unused_port: int
) -> None:
    release = asyncio.Event()

    async def wait(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        await release.wait()
        return Outcome.OK, b"{}"

    async with (
        running(tmp_path / "worker", answers={Operation.DETECT: wait}) as worker,
        gateway_process(tmp_path, unused_port, worker) as (process, http),
    ):
        sent = asyncio.create_task(http.post("/v1/detections", content=b"x", headers=OCTETS))
        async with asyncio.timeout(30):
            while not worker.of(Operation.DETECT):
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await _until_nobody_listens(unused_port)
        assert not sent.done()
        release.set()
        assert (await sent).status_code == 200
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"time", "level", "logger", "event"} <= set(lines[0])
    assert [line for line in lines if line.get("route") == "/v1/detections"]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process: Linux only")
async def test_a_gateway_that_cannot_record_is_not_ready_until_it_can(
    tmp_path: Path, unused_port: int
) -> None:
    log = tmp_path / "audit.jsonl"

    def limit_files(size: int) -> None:
        # As a full disk: the first write beyond it takes a part of the line, the next one fails.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async with (
        running(tmp_path / "worker") as worker,
        gateway_process(tmp_path, unused_port, worker, "--audit-log", str(log)) as (process, http),
    ):

        async def detect() -> int:
            answer = await http.post("/v1/detections", content=b"x", headers=OCTETS)
            return answer.status_code

        assert await detect() == 200
        limit_files(log.stat().st_size + 100)
        assert [await detect() for _ in range(3)] == [500] * 3
        for path in ("/readyz", "/v2/health/ready"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert (await http.get("/livez")).status_code == 200
        verify(log.read_bytes().splitlines(keepends=True))
        limit_files(resource.RLIM_INFINITY)
        for path in ("/readyz", "/v2/health/ready"):
            assert (await http.get(path)).status_code == 200
        assert await detect() == 200
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)
    lines = log.read_bytes().splitlines(keepends=True)
    verify(lines)
    operations = [json.loads(line)["operation"] for line in lines]
    assert operations == ["detect", "auditCheck", "detect"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "99999"], "port"),
        (["--enclaves", "tcp://somewhere"], "tcp://somewhere"),
        (["--byte-budget", "2000", "--max-body", "4000"], "byte_budget"),
        (["--enclaves", "unix:///w"], "no measurements given: add --pcrs FILE"),
        (["--pcrs", "/nowhere.json"], "/nowhere.json"),
        (["--audit-key", "/nowhere.key"], "audit_key"),
        (["--audit-log", "/dev/null/log"], "/dev/null/log"),
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


def test_a_metrics_port_that_is_taken_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "gateway", "--port", "0", "--metrics-port", str(port)),
                *trusted(tmp_path),
            ],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3  # uvicorn's, for a start that failed
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [each for each in done.stdout.splitlines() if str(port) in each]
    said = json.loads(line)["event"]
    assert "\n" not in said
    assert f"cannot listen at 127.0.0.1:{port} for metrics: address already in use" in said
    assert "--metrics-port" in said


async def test_a_start_that_fails_for_another_reason_is_one_line_too(tmp_path: Path) -> None:
    """The message that the server logs, for the failure of anything that starts with it."""

    @asynccontextmanager
    async def failing(_: Starlette) -> AsyncIterator[None]:
        if tmp_path.exists():
            raise PermissionError(13, "Permission denied", str(tmp_path / "file"))
        yield

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    edge = Edge(Starlette(lifespan=failing), records=None)  # type: ignore[arg-type]
    with pytest.raises(PermissionError):
        await edge({"type": "lifespan", "app": None, "state": {}}, receive, send)
    assert sent[-1]["type"] == "lifespan.startup.failed"
    assert "Traceback" not in sent[-1]["message"]
    assert "ermission denied" in sent[-1]["message"]


def test_lists_come_from_variables_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLINDGATE_ENCLAVES", "unix:///a, vsock://16:5005")
    monkeypatch.setenv("BLINDGATE_PCRS", "old.json,new.json")
    settings = Settings()
    assert settings.enclaves == ("unix:///a", "vsock://16:5005")
    assert settings.pcrs == (Path("old.json"), Path("new.json"))
