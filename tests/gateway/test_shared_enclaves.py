"""Callers share enclaves: what one of them sends costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader, frames, parse_address
from blindgate.sealing import keys, ohttp
from blindgate.sealing.padding import ANSWER_BUCKETS
from blindgate.sealing.suites import SYMMETRIC, Kem, Symmetric
from gateway.app import MAX_ANSWER
from tests.gateway.conftest import OCTETS, Served, serve_gateway
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


@asynccontextmanager
async def calling_from(served: Served, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an address, and so a name, of its own."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    url = f"http://127.0.0.1:{served.port}"
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=20) as client:
        yield client


BAD = b"bad" + bytes(300_000)


async def _closes(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    if body.startswith(b"bad"):
        raise ConnectionError
    return Outcome.OK, b"{}"


async def _answers_too_much(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    # One byte more than the pool of these tests takes.
    return Outcome.OK, bytes(1024 * 1024 + 1) if body.startswith(b"bad") else b"{}"


@pytest.mark.parametrize(
    "how",
    [
        {"answers": {Operation.DETECT: _closes}},
        {"answers": {Operation.DETECT: _answers_too_much}},
        {"resets": lambda header: header.body_length == len(BAD)},
    ],
    ids=["closes", "answers too much", "resets in the body"],
)
async def test_requests_that_break_their_connection_cost_other_callers_nothing(
    worker_path: Path, how: dict[str, Any]
) -> None:
    async with (
        running(worker_path, **how) as worker,
        serve_gateway(worker) as served,
        calling_from(served, "127.0.0.2") as attacker,
        calling_from(served, "127.0.0.3") as victim,
    ):
        for round_ in range(8):
            attacks = [attacker.post(URL, content=BAD, headers=OCTETS) for _ in range(6)]
            for attack in await asyncio.gather(*attacks):
                is_problem(attack, problems.ENCLAVE_UNAVAILABLE)
            answer = await victim.post(URL, content=b"good", headers=OCTETS)
            assert answer.status_code == 200, f"after {round_ + 1} rounds"
        tried = [body for _, body in worker.of(Operation.DETECT) if body.startswith(b"bad")]
        assert len(tried) < 6 * 8, "a caller whose requests fail is kept away"
        assert (await attacker.post(URL, content=b"good", headers=OCTETS)).status_code == 503


async def test_connections_that_cannot_be_opened_do_not_end_those_that_are(
    worker_path: Path,
) -> None:
    async def no_document(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        return Outcome.OVERLOADED, b""

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        assert (await served.http.post(URL, content=b"x", headers=OCTETS)).status_code == 200
        (endpoint,) = served.pool.machine.endpoints
        await served.until(lambda: len(endpoint.idle) == 2)
        # As in an enclave all of whose connections are occupied by clients that left.
        worker.answers[Operation.ATTEST] = no_document
        posts = [served.http.post(URL, content=b"x", headers=OCTETS) for _ in range(20)]
        answers = await asyncio.gather(*posts)
        await served.until(lambda: endpoint.breaker.until is not None)
        answers += [await served.http.post(URL, content=b"x", headers=OCTETS) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert served.pool.is_ready


async def head_alone(served: Served, path: str, length: int) -> bytes:
    """Send the head of an upload and nothing of its body; the status line of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n"
    writer.write(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("path", [URL, f"{URL}?min_score=0.5", INFER])
async def test_enclaves_that_answer_sealed_requests_only_are_sent_no_envelope(
    worker_path: Path, path: str
) -> None:
    async with (
        running(worker_path, status={"answers": "sealed"}) as worker,
        serve_gateway(worker) as served,
    ):
        assert b" 403 " in await head_alone(served, path, 1000)
        answer = await served.http.post(path, content=b"{}", headers=OCTETS)
        assert answer.status_code == 403
        assert not worker.of(Operation.DETECT)
        sealed = {"content-type": "message/ohttp-req"}
        answer = await served.http.post(
            "/.well-known/ohttp-gateway", content=b"\x07x", headers=sealed
        )
        assert answer.status_code == 200


async def test_one_sealed_enclave_is_enough_and_the_last_word_counts(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a") as first,
        running(tmp_path / "b", status={"answers": "sealed"}) as second,
        serve_gateway(first, second) as served,
    ):
        assert b" 403 " in await head_alone(served, URL, 1000)
        served.pool.set_addresses([parse_address(str(first.address))])
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
        assert answer.status_code == 200
        first.status["answers"] = "sealed"
        await served.until(lambda: served.app.state.dataplane.sealed_only)
        await first.stop()
        await served.until(lambda: not served.pool.is_ready)
        assert b" 403 " in await head_alone(served, URL, 1000)


async def test_a_body_that_an_enclave_does_not_receive_is_refused_with_its_limit(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "a", status={"body_bytes": 5000}) as first,
        running(tmp_path / "b", status={"body_bytes": 4000}) as second,
        running(tmp_path / "c") as third,
        serve_gateway(first, second, third) as served,
    ):
        assert b" 413 " in await head_alone(served, URL, 4001)
        answer = await served.http.post(URL, content=bytes(4001), headers=OCTETS)
        assert is_problem(answer, problems.BODY_TOO_LARGE)["limit"] == 4000

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield bytes(1000)

        answer = await served.http.post(URL, content=chunks(), headers=OCTETS)
        assert is_problem(answer, problems.BODY_TOO_LARGE)["limit"] == 4000
        assert (await served.http.post(URL, content=bytes(4000), headers=OCTETS)).status_code == 200


async def test_the_gateways_own_limit_stays_where_enclaves_receive_more(worker_path: Path) -> None:
    async with (
        running(worker_path, status={"body_bytes": 32 * 1024 * 1024}) as worker,
        serve_gateway(worker, max_body=2000) as served,
    ):
        answer = await served.http.post(URL, content=bytes(2001), headers=OCTETS)
    assert is_problem(answer, problems.BODY_TOO_LARGE)["limit"] == 2000


@pytest.mark.parametrize("symmetric", SYMMETRIC)
def test_the_largest_sealed_response_is_received(symmetric: Symmetric) -> None:
    pair = keys.KeyPair.from_seed(7, Kem.X25519, bytes(32))
    request = ohttp.seal_request(pair.config, b"question", symmetric=symmetric)
    opened = ohttp.open_request(bytearray(request.encapsulated), lambda _: pair)
    largest = opened.response.seal(b"", padded_to=ANSWER_BUCKETS[-1])
    assert 16 * 1024 * 1024 < len(largest) <= MAX_ANSWER < 17 * 1024 * 1024
