"""Metrics, logs and the page of the API: useful, and silent about content."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.telemetry.logging import JsonFormatter
from gateway.telemetry.metrics import served as serve_metrics
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import running

pytestmark = pytest.mark.anyio
URL = "/v1/detections"


async def scrape(app: Any) -> dict[str, float]:
    async with (
        serve_metrics(app.state.metrics, "127.0.0.1", 0) as port,
        httpx.AsyncClient() as http,
    ):
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert (await http.get(f"http://127.0.0.1:{port}/other")).status_code == 404
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_requests_are_counted_by_route_status_and_problem(worker_path: Path) -> None:
    async def refuse(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        return Outcome.KMS_REFUSED, b""

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(URL, content=b"x", headers=OCTETS)
        worker.answers[Operation.DETECT] = refuse
        await served.http.post(URL, content=b"x", headers=OCTETS)
        await served.http.get("/some/secret/path?and=query")
        seen = await scrape(served.app)
    count = "blindgate_requests_total"
    assert seen[f'{count}{{problem="",route="{URL}",status="200"}}'] == 1
    assert seen[f'{count}{{problem="kms-refused",route="{URL}",status="403"}}'] == 1
    assert seen[f'{count}{{problem="not-found",route="unmatched",status="404"}}'] == 1
    assert seen[f'blindgate_request_seconds_count{{route="{URL}"}}'] == 2
    for stage in ("upload", "queue", "exchange"):
        assert seen[f'blindgate_stage_seconds_count{{route="{URL}",stage="{stage}"}}'] == 2
    answers = "blindgate_enclave_answers_total"
    assert seen[f'{answers}{{operation="detect",outcome="ok"}}'] == 1
    assert seen[f'{answers}{{operation="detect",outcome="kms-refused"}}'] == 1
    enclave = f'{{enclave="{worker.address}"}}'
    assert seen[f"blindgate_worker_threads{enclave}"] == 2
    for name in ("busy", "queued", "needs_credentials", "kms_clock_skew"):
        assert seen[f"blindgate_worker_{name}{enclave}"] == 0
    assert seen['blindgate_enclaves{state="ready"}'] == 1
    assert seen['blindgate_breakers{state="closed"}'] == 1
    assert seen['blindgate_connections{state="idle"}'] >= 1
    assert seen["blindgate_queue"] == seen["blindgate_body_bytes"] == 0
    assert not [name for name in seen if "secret" in name]


async def test_an_exchange_without_an_answer_is_counted_by_its_reason(worker_path: Path) -> None:
    arrived = asyncio.Event()

    async def never(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        asyncio.timeout(60),
        running(worker_path) as worker,
        serve_gateway(worker) as served,
    ):
        worker.answers[Operation.DETECT] = never
        late = {**OCTETS, "request-timeout": "2"}
        assert (await served.http.post(URL, content=b"x", headers=late)).status_code == 504
        await worker.cancelled.wait()
        arrived.clear()
        worker.cancelled.clear()
        leaving = asyncio.create_task(served.http.post(URL, content=b"x", headers=OCTETS))
        await arrived.wait()
        leaving.cancel()
        await worker.cancelled.wait()
        arrived.clear()
        dying = asyncio.create_task(served.http.post(URL, content=b"x", headers=OCTETS))
        await arrived.wait()
        await worker.stop()
        assert (await dying).status_code == 503
        seen = await scrape(served.app)
    for outcome in ("deadline-exceeded", "cancelled", "lost"):
        name = f'blindgate_enclave_answers_total{{operation="detect",outcome="{outcome}"}}'
        assert seen[name] == 1


async def test_metrics_are_not_on_the_clients_port(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        assert (await served.http.get("/metrics")).status_code == 404


async def test_metrics_are_served_on_a_port_of_their_own(unused_port: int) -> None:
    async with serve_gateway(metrics_port=unused_port), httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{unused_port}/metrics")
    assert "blindgate_enclaves" in answer.text


async def test_a_request_is_one_line_of_json_without_what_the_client_wrote(
    worker_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            f"{URL}?classes=hush", content=b"envelope-bytes", headers=OCTETS
        )
        await served.http.request("PROPFIND", "/hush?hush=hush", headers={"hush": "hush"})
    records = [r for r in caplog.records if r.name == "gateway.http.edge"]
    lines = [JsonFormatter().format(record) for record in records]
    first, second = (json.loads(line) for line in lines)
    assert first["request_id"] == answer.headers["x-request-id"]
    assert (first["method"], first["route"], first["status"]) == ("POST", URL, 200)
    assert first["enclave"] == str(worker.address)
    assert (second["route"], second["problem"]) == ("unmatched", "not-found")
    ours = [JsonFormatter().format(r) for r in caplog.records if not r.name.startswith("http")]
    assert not [line for line in ours if "hush" in line.lower() or "envelope-bytes" in line]


def test_a_line_of_the_log_has_no_fields_but_those_that_are_listed() -> None:
    record = logging.makeLogRecord({"msg": "event", "route": "/", "body": b"never shown"})
    line = json.loads(JsonFormatter().format(record))
    assert set(line) == {"time", "level", "logger", "event", "route"}


async def test_a_failure_of_ours_is_a_problem_that_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_gateway() as served:

        def fail() -> None:
            raise ValueError("innards")

        monkeypatch.setattr(served.app.state.dataplane, "models", fail)
        answer = await served.http.get("/v1/models")
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:blindgate:problem:internal-error"
    assert "innards" not in answer.text
    (record,) = [r for r in caplog.records if r.exc_info and r.name == "gateway.http.edge"]
    assert record.__dict__["request_id"] == answer.json()["request_id"]


async def test_the_page_of_the_api_asks_nobody_else() -> None:
    async with serve_gateway() as served:
        page = await served.http.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src")[0]
        assert not re.search(r"<script(?! src=)", page.text), "its policy forbids inline scripts"
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) == 5
        for link in links:
            assert link.startswith("/")
            assert (await served.http.get(link)).status_code == 200
