"""The short way of the busy requests answers as the ordinary one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.pool import PoolLimits
from tests.gateway.conftest import OCTETS, Served, serve_gateway
from tests.gateway.fake_worker import running

pytestmark = pytest.mark.anyio
OHTTP = "/.well-known/ohttp-gateway"
DETECT = "/v1/detections"
SEALED = {"content-type": "message/ohttp-req"}
#: The default, said as nobody says it: for the ordinary way.
ORDINARY = {"request-timeout": "3e1"}
FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--x--\r\n'

CASES: dict[str, tuple[str, dict[str, str], bytes]] = {
    "sealed": (OHTTP, SEALED, b"\x07sealed"),
    "sealed to nobody's key": (OHTTP, SEALED, b"\x09sealed"),
    "sealed, empty": (OHTTP, SEALED, b""),
    "sealed, too large": (OHTTP, SEALED, bytes(5000)),
    "sealed, of another type": (OHTTP, OCTETS, b"\x07sealed"),
    "sealed, wants HTML": (OHTTP, {**SEALED, "accept": "text/html"}, b"\x07sealed"),
    "sealed, takes anything": (OHTTP, {**SEALED, "accept": "*/*"}, b"\x07sealed"),
    "envelope": (DETECT, OCTETS, b"envelope"),
    "envelope in a form": (DETECT, {"content-type": "multipart/form-data; boundary=x"}, FORM),
    "envelope that is refused": (DETECT, OCTETS, b"bad"),
    "envelope, empty": (DETECT, OCTETS, b""),
    "envelope, wants what we have": (DETECT, {**OCTETS, "accept": "application/json"}, b"e"),
}


async def _detect(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    if body == b"bad":
        return Outcome.ENVELOPE_REJECTED, b""
    return Outcome.OK, b'{"detections":[]}'


async def _answers(served: Served, path: str, headers: dict[str, str], body: bytes) -> list[Any]:
    """What a request is answered on either way, but for what is each answer's own."""
    found = []
    for more in ({}, ORDINARY):
        answer = await served.http.post(path, content=body, headers={**headers, **more})
        own = {"x-request-id", "date"}
        kept = {k: v for k, v in answer.headers.items() if k not in own}
        text = answer.content.replace(answer.headers["x-request-id"].encode(), b"ID")
        found.append((answer.status_code, kept, text))
    return found


def _counted(served: Served) -> dict[tuple[str, str, str], float]:
    """How often each route, status and problem was counted."""
    return {
        (s.labels["route"], s.labels["status"], s.labels["problem"]): s.value
        for family in served.app.state.metrics.registry.collect()
        for s in family.samples
        if s.name == "blindgate_requests_total"
    }


@pytest.mark.parametrize("case", CASES)
async def test_both_ways_answer_and_count_alike(worker_path: Path, case: str) -> None:
    path, headers, body = CASES[case]
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.DETECT] = _detect
        short, ordinary = await _answers(served, path, headers, body)
        assert short == ordinary
        assert {key[0]: value for key, value in _counted(served).items()} == {path: 2.0}


async def test_both_ways_refuse_when_there_is_no_enclave(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await worker.stop()
        await served.until(lambda: not served.pool.is_ready)
        short, ordinary = await _answers(served, OHTTP, SEALED, b"\x07sealed")
    assert short == ordinary
    assert short[0] == 503


async def test_both_ways_ask_who_calls(worker_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"version": 1, "keys": []}')
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=keys) as served:
        short, ordinary = await _answers(served, DETECT, OCTETS, b"envelope")
        assert not worker.of(Operation.DETECT)
    assert short == ordinary
    assert short[0] == 401


async def test_options_are_read_on_the_ordinary_way(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(DETECT, content=b"e", headers=OCTETS, params={"min_score": "0.25"})
        await served.http.post(DETECT, content=b"e", headers=OCTETS)
        (asked, _), (plain, _) = worker.of(Operation.DETECT)
    assert asked.params["min_score"] == 0.25
    assert "min_score" not in plain.params


async def test_the_short_way_has_the_default_deadline(worker_path: Path) -> None:
    limits = PoolLimits(connections=1)
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, limits=limits, default_deadline=7.0) as served,
    ):
        await served.http.post(OHTTP, content=b"\x07sealed", headers=SEALED)
        ((header, _),) = worker.of(Operation.OHTTP)
    assert 6000 < header.deadline_ms <= 7000


TIMEOUTS = [
    "7",
    "7.25",
    "0.5",
    "0",
    "-1",
    "1e1",
    "nan",
    "inf",
    "60",
    "60.001",
    "999999",
    "\uff17",
    "7,8",
]


@pytest.mark.parametrize("text", TIMEOUTS)
async def test_both_ways_read_deadlines_alike(worker_path: Path, text: str) -> None:
    said = [(b"content-type", b"message/ohttp-req"), (b"request-timeout", text.encode())]
    async with running(worker_path) as worker, serve_gateway(worker, max_deadline=60) as served:
        short = await served.http.post(OHTTP, content=b"\x07sealed", headers=said)
        # A query is the ordinary way's, which has no use for it here.
        ordinary = await served.http.post(OHTTP + "?x=1", content=b"\x07sealed", headers=said)
        headers = [header for header, _ in worker.of(Operation.OHTTP)]
    assert short.status_code == ordinary.status_code
    if short.status_code == 200:
        first, second = (round(header.deadline_ms / 1000) for header in headers)
        assert first == second == round(float(text))
    else:
        assert short.json()["errors"] == ordinary.json()["errors"]


@pytest.mark.parametrize("values", [["7"], ["7.5"], ["60"]])
async def test_a_plain_deadline_needs_no_router(worker_path: Path, values: list[str]) -> None:
    said = [*SEALED.items(), *(("request-timeout", value) for value in values)]
    async with running(worker_path) as worker, serve_gateway(worker, max_deadline=60) as served:
        served.app.router.routes.clear()
        assert (await served.http.post(OHTTP, content=b"\x07", headers=said)).status_code == 200


@pytest.mark.parametrize("values", [["60.001"], ["0"], ["7 s"], ["7", "7"], ["1e1"]])
async def test_any_other_deadline_is_the_router_s(worker_path: Path, values: list[str]) -> None:
    said = [*SEALED.items(), *(("request-timeout", value) for value in values)]
    async with running(worker_path) as worker, serve_gateway(worker, max_deadline=60) as served:
        served.app.router.routes.clear()
        assert (await served.http.post(OHTTP, content=b"\x07", headers=said)).status_code == 404


async def test_what_is_no_plain_upload_goes_the_ordinary_way(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            OHTTP, content=b"\x07", headers={**SEALED, "request-timeout": "never"}
        )
        assert answer.status_code == 422
        assert (await served.http.get(OHTTP)).status_code == 200
        assert (await served.http.put(OHTTP)).status_code == 405
        assert not worker.of(Operation.OHTTP)


async def test_a_plain_upload_does_not_need_the_router(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        served.app.router.routes.clear()
        short, ordinary = await _answers(served, OHTTP, SEALED, b"\x07sealed")
    assert (short[0], ordinary[0]) == (200, 404)
