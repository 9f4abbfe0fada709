"""Clients that offer to upgrade by themselves: Java's HttpClient and curl --http2."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from blindgate.link import Operation
from tests.gateway.conftest import Served, serve_gateway
from tests.gateway.fake_worker import FakeWorker, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
SOURCE = Path(__file__).with_name("java") / "Post.java"
CURL, JAVA, JAVAC = (shutil.which(name) for name in ("curl", "java", "javac"))
#: Where bodies go, with their media type and the operation that they become.
UPLOADS = [
    ("/v1/detections", "application/octet-stream", Operation.DETECT),
    ("/.well-known/ohttp-gateway", "message/ohttp-req", Operation.OHTTP),
]
#: A body that would be a request if it were taken for one, and large enough for several reads.
BODY = b"\x07GET /v1/models HTTP/1.1\r\nHost: hidden\r\n\r\n" + bytes(600_000)


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(120):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return out.decode()


def url(served: Served, path: str) -> str:
    return f"http://127.0.0.1:{served.port}{path}"


def bodies(worker: FakeWorker, operation: Operation) -> list[bytes]:
    return [body for _, body in worker.of(operation)]


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("java")
    assert JAVAC is not None
    subprocess.run([JAVAC, "-d", str(folder), str(SOURCE)], check=True, timeout=200)
    return folder


@pytest.mark.skipif(
    JAVAC is None or JAVA is None, reason="java and javac are not installed on this machine"
)
@pytest.mark.parametrize(("path", "media_type", "operation"), UPLOADS)
async def test_java_s_client_works_as_it_comes(
    worker_path: Path,
    compiled: Path,
    upload: Path,
    path: str,
    media_type: str,
    operation: Operation,
) -> None:
    assert JAVA is not None
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        command = (JAVA, "-cp", str(compiled), "Post", url(served, path), media_type, str(upload))
        printed = await output(*command)
        assert bodies(worker, operation) == [BODY] * 6
    kinds = [line.split()[:2] for line in printed.splitlines()]
    assert kinds == [[kind, "200"] for kind in ("length", "chunks", "continue") for _ in "12"]


@pytest.fixture
def curl() -> str:
    if CURL is None:
        pytest.skip("curl is not installed on this machine")
    shown = subprocess.run([CURL, "--version"], capture_output=True, text=True, check=True)
    if "HTTP2" not in shown.stdout:
        pytest.skip("curl is built without HTTP/2 on this machine")
    return CURL


@pytest.mark.parametrize("more", [[], ["--header", "transfer-encoding: chunked"], ["--expect100"]])
@pytest.mark.parametrize(("path", "media_type", "operation"), UPLOADS)
async def test_curl_works_with_http2_offered(
    worker_path: Path,
    curl: str,
    upload: Path,
    path: str,
    media_type: str,
    operation: Operation,
    more: list[str],
) -> None:
    if more == ["--expect100"]:
        more = ["--header", "expect: 100-continue"]
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        where = url(served, path)
        # Twice, over one connection.
        shown = await output(
            curl,
            "--silent",
            "--show-error",
            "--http2",
            *("--header", f"content-type: {media_type}"),
            *more,
            *("--data-binary", f"@{upload}"),
            *("--write-out", "%{http_code} %{num_connects}\n"),
            *("--output", "/dev/null", "--output", "/dev/null"),
            where,
            where,
        )
        assert bodies(worker, operation) == [BODY] * 2
    assert shown.splitlines() == ["200 1", "200 0"]


async def test_curl_gets_the_problem_of_a_request_without_a_host(curl: str) -> None:
    async with serve_gateway() as served:
        shown = await output(curl, "--silent", "--header", "Host:", url(served, "/livez"))
    assert "malformed-request" in shown


async def test_curl_reads_only_the_head(curl: str) -> None:
    async with serve_gateway() as served:
        shown = await output(curl, "--silent", "--head", "--http2", url(served, "/livez"))
    assert shown.startswith("HTTP/1.1 200 ")
    assert shown.endswith("\r\n\r\n")
