"""`POST /v1/detections` through a real server."""

from __future__ import annotations

import asyncio
import json
import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader
from gateway.pool import PoolLimits
from tests.gateway.conftest import OCTETS, Served, serve_gateway
from tests.gateway.fake_worker import FakeWorker, running

pytestmark = pytest.mark.anyio
URL = "/v1/detections"


def is_problem(answer: Any, problem: problems.Problem) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["type"]) == (problem.status, problem.type)
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def test_an_envelope_reaches_the_enclave_unchanged_and_its_answer_comes_back(
    worker_path: Path,
) -> None:
    envelope = bytes(range(256)) * 4000
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(URL, content=envelope, headers=OCTETS)
        (request,) = worker.of(Operation.DETECT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == b'{"detections":[]}'
    assert request[1] == envelope
    assert request[0].request_id.hex() == answer.headers["x-request-id"]


async def test_options_become_parameters_of_the_link(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            f"{URL}?min_score=0.25&max_detections=3&classes=cat,dog&classes=bird&tiles=2"
            "&format=sample",
            content=b"x",
            headers=OCTETS,
        )
        (request,) = worker.of(Operation.DETECT)
    assert answer.status_code == 200
    assert request[0].params == {
        "min_score": 0.25,
        "max_detections": 3,
        "classes": ["cat", "dog", "bird"],
        "tiles": 2,
        "format": "sample",
    }


async def test_a_form_with_one_file_is_taken_for_its_file(worker_path: Path) -> None:
    envelope = bytes(range(256)) * 2000
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(URL, files={"file": ("a.encrypted", envelope)})
        (request,) = worker.of(Operation.DETECT)
    assert answer.status_code == 200
    assert request[1] == envelope


@pytest.mark.parametrize(
    "query",
    [
        "min_score=2",
        "min_score=nan",
        "min_score=x",
        "max_detections=0",
        "max_detections=301",
        "classes=",
        "tiles=4",
        "format=xml",
        "colour=red",
        "min_score=0.1&min_score=0.2",
    ],
)
async def test_a_wrong_parameter_is_named(worker_path: Path, query: str) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(f"{URL}?{query}", content=b"x", headers=OCTETS)
        assert not worker.of(Operation.DETECT)
    body = is_problem(answer, problems.INVALID_REQUEST)
    assert body["errors"][0]["parameter"].split(".")[0] == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "", "601", "121"])
async def test_a_wrong_request_timeout_is_refused(worker_path: Path, seconds: str) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        headers = {**OCTETS, "request-timeout": seconds}
        answer = await served.http.post(URL, content=b"x", headers=headers)
        same = await served.http.post(f"{URL}/sample", content=b"x", headers=headers)
    body = is_problem(answer, problems.INVALID_REQUEST)
    assert body["errors"][0]["parameter"] == "Request-Timeout"
    # FastAPI reads the header for the one route, `PlainRoute` for the other.
    assert is_problem(same, problems.INVALID_REQUEST)["errors"] == body["errors"]


async def test_the_time_that_is_left_is_told_to_the_enclave(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(URL, content=b"x", headers={**OCTETS, "request-timeout": "4.5"})
        (request,) = worker.of(Operation.DETECT)
    assert 4000 < request[0].deadline_ms <= 4500


async def test_an_empty_body_is_refused(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        is_problem(await served.http.post(URL, headers=OCTETS), problems.EMPTY_BODY)
        answer = await served.http.post(URL, files={"file": ("a", b"")})
        is_problem(answer, problems.EMPTY_BODY)


@pytest.mark.parametrize("media_type", ["image/jpeg", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_refused(worker_path: Path, media_type: str) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(URL, content=b"x", headers={"content-type": media_type})
    is_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)
    assert "application/octet-stream" in answer.headers["accept"]


async def test_a_client_that_takes_no_json_is_told_so(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            URL, content=b"x", headers={**OCTETS, "accept": "text/html, application/json;q=0"}
        )
    is_problem(answer, problems.NOT_ACCEPTABLE)


async def test_a_body_over_the_limit_is_refused_by_its_declared_length(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=2048) as served:
        answer = await served.http.post(URL, content=b"x" * 2049, headers=OCTETS)
        assert (await served.http.post(URL, content=b"x" * 2048, headers=OCTETS)).is_success
    assert is_problem(answer, problems.BODY_TOO_LARGE)["limit"] == 2048


async def test_a_body_over_the_limit_is_refused_without_a_declared_length(
    worker_path: Path,
) -> None:
    async def body() -> Any:
        for _ in range(5):
            yield b"x" * 1000

    async with running(worker_path) as worker, serve_gateway(worker, max_body=2048) as served:
        answer = await served.http.post(URL, content=body(), headers=OCTETS)
        assert not worker.of(Operation.DETECT)
    is_problem(answer, problems.BODY_TOO_LARGE)


async def test_without_an_enclave_the_answer_is_503_at_once(worker_path: Path) -> None:
    async with serve_gateway() as served:
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
        assert (await served.http.get("/readyz")).status_code == 503
        assert (await served.http.get("/livez")).status_code == 200
    is_problem(answer, problems.ENCLAVE_UNAVAILABLE)
    assert int(answer.headers["retry-after"]) >= 1


OUTCOMES = [outcome for outcome in Outcome if outcome not in (Outcome.OK, Outcome.DRAINING)]


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_an_outcome_of_the_enclave_becomes_its_problem(
    worker_path: Path, outcome: Outcome
) -> None:
    async def refuse(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        return outcome, b"never shown"

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = refuse
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
    body = is_problem(answer, problems.BY_SLUG[outcome.value])
    more = {"errors"} if outcome is Outcome.INVALID_REQUEST else set()
    assert set(body) == {"type", "title", "status", "detail", "request_id"} | more
    assert body["detail"] == problems.BY_SLUG[outcome.value].advice
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)


async def test_an_image_over_a_limit_comes_with_the_limits(worker_path: Path) -> None:
    async def refuse(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        return Outcome.IMAGE_TOO_LARGE, b""

    limits = {"max_bytes": 1_000_000, "max_pixels": 12_500_000, "max_side": 5000}
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = refuse
        worker.params[Operation.DETECT] = dict(limits)
        body = is_problem(
            await served.http.post(URL, content=b"x", headers=OCTETS), problems.IMAGE_TOO_LARGE
        )
    assert {name: body[name] for name in limits} == limits
    assert "at most 12,500,000 pixels, 5,000 on a side" in body["detail"]


async def test_an_enclave_that_does_not_answer_in_time_is_504(worker_path: Path) -> None:
    async def hang(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = hang
        answer = await served.http.post(
            URL, content=b"x", headers={**OCTETS, "request-timeout": "0.05"}
        )
        is_problem(answer, problems.DEADLINE_EXCEEDED)
        del worker.answers[Operation.DETECT]
        assert (await served.http.post(URL, content=b"x", headers=OCTETS)).is_success


async def test_an_enclave_that_dies_with_a_request_is_503_and_comes_back(
    worker_path: Path,
) -> None:
    async def die(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        await worker.stop()
        await asyncio.Event().wait()
        raise AssertionError

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = die
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
        is_problem(answer, problems.ENCLAVE_UNAVAILABLE)
        worker.answers.clear()
        await worker.start()
        await served.until_ready()
        assert (await served.http.post(URL, content=b"x", headers=OCTETS)).is_success


async def test_a_client_that_stops_sending_is_answered_and_costs_no_connection(
    worker_path: Path,
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, upload_grace=0.1) as served,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            b"content-type: application/octet-stream\r\n\r\nhalf"
        )
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
        assert not worker.of(Operation.DETECT)
        assert not any(e.outstanding for e in served.pool.machine.endpoints)
        assert served.app.state.dataplane.held_bytes == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["type"] == problems.UPLOAD_TIMEOUT.type


async def test_a_client_that_goes_away_cancels_its_work_in_the_enclave(worker_path: Path) -> None:
    started = asyncio.Event()

    async def hang(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = hang
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
            b"content-type: application/octet-stream\r\n\r\nbody"
        )
        await asyncio.wait_for(started.wait(), 5)
        writer.close()
        await asyncio.wait_for(worker.cancelled.wait(), 5)
        await served.until(lambda: served.app.state.dataplane.held_bytes == 0)
        assert not any(e.outstanding for e in served.pool.machine.endpoints)


async def test_a_body_beyond_the_byte_budget_is_refused_before_it_is_sent(
    worker_path: Path,
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(
            worker, max_body=1024 * 1024, byte_budget=1024 * 1024, upload_patience=0.05
        ) as served,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = (
            b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n"
            b"content-type: application/octet-stream\r\n\r\n"
        )
        writer.write(head % 900_000)
        await served.until(lambda: served.app.state.dataplane.held_bytes == 900_000)
        other, waiting = await asyncio.open_connection("127.0.0.1", served.port)
        waiting.write(head % 200_000)  # and not a byte of the body
        async with asyncio.timeout(5):
            refused = await other.readuntil(b"\r\n\r\n") + await other.readuntil(b"}")
        waiting.close()
        writer.write(bytes(900_000))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in refused
    assert problems.OVERLOADED.type.encode() in refused


async def test_memory_for_bodies_goes_by_the_threads_of_the_enclaves(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        plane = served.app.state.dataplane
        assert plane.byte_budget == 16 * 1024 * 1024 * served.pool.threads
        await worker.stop()
        await served.until(lambda: not served.pool.is_ready)
        assert plane.byte_budget == 4096, "a body must fit"


async def test_a_body_waits_for_memory_and_is_taken_when_it_is_there(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=1024 * 1024, byte_budget=1024 * 1024) as served,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = (
            b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n"
            b"content-type: application/octet-stream\r\n\r\n"
        )
        plane = served.app.state.dataplane
        writer.write(head % 900_000)
        await served.until(lambda: plane.held_bytes == 900_000)
        other, waiting = await asyncio.open_connection("127.0.0.1", served.port)
        waiting.write(head % 200_000 + bytes(200_000))
        await served.until(lambda: plane.uploads_waiting == 1)
        assert plane.held_bytes == 900_000
        writer.write(bytes(900_000))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert (await asyncio.wait_for(other.readline(), 5)).startswith(b"HTTP/1.1 200 ")
        waiting.close()
        writer.close()


async def test_uploads_that_wait_for_memory_have_a_place_in_the_queue(worker_path: Path) -> None:
    limits = PoolLimits(queue=1, connections=1, warm=1)
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, limits=limits, max_body=4096, byte_budget=4096) as served,
    ):
        head = (
            b"POST /v1/detections HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n"
            b"content-type: application/octet-stream\r\n\r\n"
        )
        plane, writers = served.app.state.dataplane, []
        for number in range(3):  # one holds all memory; one finds a place, one the queue
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head)
            writers.append(writer)
            await served.until(lambda n=number: plane.uploads_waiting == n)  # type: ignore[misc]
        reader, last = await asyncio.open_connection("127.0.0.1", served.port)
        last.write(head)
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 503 ")
        for writer in (*writers, last):
            writer.close()


def until_released(worker: FakeWorker) -> asyncio.Event:
    """Have a worker answer nothing before the event is set."""
    release = asyncio.Event()

    async def wait(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        await release.wait()
        return Outcome.OK, b"{}"

    worker.answers[Operation.DETECT] = wait
    return release


def posted(served: Served, count: int) -> list[asyncio.Task[httpx.Response]]:
    """So many envelopes on their way."""
    return [
        asyncio.create_task(served.http.post(URL, content=b"x", headers=OCTETS))
        for _ in range(count)
    ]


async def test_a_full_queue_is_503_and_the_others_are_served(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, limits=PoolLimits(queue=1, connections=1, warm=1)) as served,
    ):
        release = until_released(worker)
        sent = posted(served, 3)
        await served.until(lambda: any(task.done() for task in sent))
        release.set()
        answers = await asyncio.gather(*sent)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
    (refused,) = [answer for answer in answers if answer.status_code == 503]
    is_problem(refused, problems.OVERLOADED)


async def test_when_the_queue_is_full_an_upload_is_refused_before_it_is_sent(
    worker_path: Path,
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, limits=PoolLimits(queue=1, connections=1, warm=1)) as served,
    ):
        release = until_released(worker)
        sent = posted(served, 2)
        await served.until(lambda: served.pool.would_refuse(math.inf) is not None)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
            "content-length: 2000000\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        release.set()
        answers = await asyncio.gather(*sent)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert re.search(rb"\r\nretry-after: [123]\r\n", head)
    assert b"\r\nconnection: close\r\n" in head
    assert [answer.status_code for answer in answers] == [200, 200]
