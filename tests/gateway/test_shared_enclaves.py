"""Callers share enclaves: what one of them sends costs the others nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader, frames, parse_address
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import running
from tests.gateway.test_detections import URL, is_problem

pytestmark = pytest.mark.anyio
INFER = "/v2/models/fake/infer"


def inference(classes: str) -> dict[str, Any]:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["QQ=="]}
    return {"inputs": [image], "parameters": {"classes": classes}}


async def test_the_largest_valid_options_reach_the_enclave(worker_path: Path) -> None:
    classes = ["\U0001f4a5" * 64] * 100
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(INFER, json=inference(",".join(classes)))
        (request,) = worker.of(Operation.DETECT)
    assert request[0].params["classes"] == classes


async def test_parameters_that_do_not_fit_are_the_clients_to_change(
    worker_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(URL, content=b"x", headers=OCTETS)
        connections = worker.accepted
        monkeypatch.setattr(frames, "MAX_HEADER", 1024)
        for _ in range(8):
            answer = await served.http.post(
                f"{URL}?classes={'c' * 64},{','.join(['d' * 60] * 20)}",
                content=b"x",
                headers=OCTETS,
            )
            (fault,) = is_problem(answer, problems.INVALID_REQUEST)["errors"]
            assert fault["parameter"] == "classes"
            assert "at most 1024 fit" in fault["message"]
        other = await served.http.post(URL, content=b"x", headers=OCTETS)
        assert other.status_code == 200
        assert worker.accepted == connections


async def test_an_enclave_can_tell_callers_apart_and_not_who_they_are(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        for _ in range(2):
            await served.http.post(URL, content=b"x", headers=OCTETS)
        tags = {header.caller for header, _ in worker.of(Operation.DETECT)}
        own = {header.caller for header, _ in worker.of(Operation.STATUS)}
    (tag,) = tags
    assert tag is not None
    assert len(tag) == 16
    assert b"127.0.0.1" not in tag
    assert own == {None}


async def test_uploads_that_wait_for_memory_use_that_of_an_enclave_that_joins(
    tmp_path: Path,
) -> None:
    answered = asyncio.Event()

    async def later(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        await answered.wait()
        return Outcome.OK, b"{}"

    body = bytes(20 * 1024 * 1024)
    async with (
        running(tmp_path / "a", answers={Operation.DETECT: later}) as first,
        running(tmp_path / "b") as second,
        serve_gateway(first, upload_patience=60) as served,
    ):
        plane = served.app.state.dataplane
        # Two threads: memory for 32 MiB of bodies, and so for one of these.
        posts = [
            asyncio.create_task(served.http.post(URL, content=body, headers=OCTETS))
            for _ in range(2)
        ]
        await served.until(lambda: plane.uploads_waiting == 1)
        served.pool.set_addresses(
            [parse_address(str(worker.address)) for worker in (first, second)]
        )
        await served.until(
            lambda: bool(second.of(Operation.DETECT)) or len(first.of(Operation.DETECT)) == 2
        )
        answered.set()
        assert [answer.status_code for answer in await asyncio.gather(*posts)] == [200, 200]
