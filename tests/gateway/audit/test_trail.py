"""What is recorded of requests, through a real server."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome
from gateway.audit.chain import verify
from gateway.audit.middleware import Measurements, note_answer
from gateway.auth.caller import Scope
from gateway.auth.key_file import change_keys
from gateway.auth.keys import KeyStore
from gateway.context import RequestContext
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import PCRS, running
from tests.gateway.test_detections import is_problem

pytestmark = pytest.mark.anyio
URL = "/v1/detections"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines(keepends=True)
    verify(lines)
    return [json.loads(line) for line in lines]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_detection_leaves_one_line(path: Path, worker_path: Path, tmp_path: Path) -> None:
    store, record, key = KeyStore().with_new("a", [Scope.DETECT], now=datetime.now(UTC))
    change_keys(tmp_path / "keys", lambda _: store)
    envelope = b"an envelope" * 30_000
    async with running(worker_path) as worker, serve_gateway(
        worker, audit_log=path, api_keys=tmp_path / "keys"
    ) as served:  # fmt: skip
        headers = {**OCTETS, "x-api-key": key}
        answer = await served.http.post(f"{URL}?classes=cat", content=envelope, headers=headers)
        (line,) = records(path)
        assert line.pop("time").endswith("+00:00")
        assert line.pop("hash")
        assert line == {
            "seq": 1,
            "request_id": answer.headers["x-request-id"],
            "caller": f"api-key:{record.id}",
            "operation": "detect",
            "ciphertexts": [sha256(envelope)],
            "enclaves": [{"address": str(worker.address), "pcr0": PCRS[0].hex()}],
            "kms": [],
            "outcome": "ok",
            "prev": "0" * 64,
        }
        assert b"cat" not in path.read_bytes()
        assert key.encode() not in path.read_bytes()


async def test_of_a_form_the_file_is_recorded(path: Path, worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, audit_log=path) as served:
        await served.http.post(URL, files={"file": ("secret-name", b"an envelope")})
    assert records(path)[0]["ciphertexts"] == [sha256(b"an envelope")]
    assert b"secret-name" not in path.read_bytes()


async def test_refusals_are_recorded_by_their_class(path: Path, worker_path: Path) -> None:
    async def refuse(*_: Any) -> tuple[Outcome, bytes]:
        return Outcome.ENVELOPE_REJECTED, b""

    async with running(worker_path, answers={Operation.DETECT: refuse}) as worker, serve_gateway(
        worker, audit_log=path, max_body=1024
    ) as served:  # fmt: skip
        await served.http.post(URL, content=b"x", headers=OCTETS)
        await served.http.post(URL, content=b"x" * 2000, headers=OCTETS)
        await served.http.post(f"{URL}?min_score=7", content=b"x", headers=OCTETS)
        await served.http.get("/nowhere")
        await served.http.get("/v1/models")
        await served.http.get("/livez")
    line, *counted = records(path)
    assert (line["operation"], line["outcome"]) == ("detect", "envelope-rejected")
    assert [(each["caller"], each["address"], each["requests"]) for each in counted] == [
        ("anonymous:127.0.0.1", None, {"body-too-large": 1, "invalid-request": 1, "ok": 1}),
        (None, "127.0.0.1", {"not-found": 1}),
    ]
    assert records(path)[0]["ciphertexts"] == [sha256(b"x")]
    assert records(path)[0]["enclaves"][0]["pcr0"] == PCRS[0].hex()


async def test_those_who_do_not_sign_in_share_a_line(
    path: Path, worker_path: Path, tmp_path: Path
) -> None:
    store, record, key = KeyStore().with_new("a", [Scope.ATTEST], now=datetime.now(UTC))
    change_keys(tmp_path / "keys", lambda _: store)
    async with running(worker_path) as worker, serve_gateway(
        worker, audit_log=path, api_keys=tmp_path / "keys"
    ) as served:  # fmt: skip
        guess = {**OCTETS, "x-api-key": "bgk_guess"}
        statuses = [
            (await served.http.post(URL, content=b"x", headers=guess)).status_code
            for _ in range(100)
        ]
        assert statuses == [401] * 60 + [429] * 40
        for url in ("/docs", "/openapi.json", "/nowhere", "/v1/models"):
            await served.http.get(url)
        for _ in range(3):
            await served.http.post(URL, content=b"x", headers={**OCTETS, "x-api-key": key})
        assert (await served.http.get("/v1/models", headers={"x-api-key": key})).status_code == 200
    totals: dict[Any, dict[str, int]] = {}
    for line in records(path):  # a minute may end meanwhile
        total = totals.setdefault((line["caller"], line["address"]), {})
        for outcome, count in line["requests"].items():
            total[outcome] = total.get(outcome, 0) + count
    assert totals == {
        (None, "127.0.0.1"): {"unauthorized": 60, "rate-limited": 41, "ok": 2, "not-found": 1},
        (f"api-key:{record.id}", None): {"forbidden": 3, "ok": 1},
    }
    assert b"guess" not in path.read_bytes()


async def test_what_was_sent_to_an_enclave_is_recorded_though_no_answer_came(
    path: Path, worker_path: Path
) -> None:
    async def reset(*_: Any) -> tuple[Outcome, bytes]:
        raise ConnectionError

    answers = {Operation.DETECT: reset, Operation.ATTEST: reset}
    async with running(worker_path) as worker, serve_gateway(worker, audit_log=path) as served:
        worker.answers |= answers
        await served.http.post(URL, content=b"x", headers=OCTETS)
    line = records(path)[0]
    assert (line["operation"], line["outcome"]) == ("detect", "enclave-unavailable")
    assert line["ciphertexts"] == [sha256(b"x")]


async def test_no_answer_leaves_without_its_record(
    path: Path, worker_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async with running(worker_path) as worker, serve_gateway(worker, audit_log=path) as served:
        with monkeypatch.context() as full:
            full.setattr("gateway.audit.log.AuditLog.append", fail)
            answer = await served.http.post(URL, content=b"x", headers=OCTETS)
            is_problem(answer, problems.INTERNAL_ERROR)
            assert "detections" not in answer.text
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
        assert answer.status_code == 200


async def test_without_a_log_nothing_is_hashed(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        assert (await served.http.post(URL, content=b"x", headers=OCTETS)).status_code == 200
        assert served.app.state.settings.audit_log is None


def test_only_ids_of_kms_are_kept_of_what_an_enclave_says() -> None:
    context = RequestContext()
    call = "0a1b2c3d-0000-4000-8000-0123456789ab"
    note_answer(context, "unix:///one", {"kms": [call, "a label", call.upper(), ""]})
    note_answer(context, "unix:///two", {"kms": [call] * 100})
    note_answer(context, "unix:///one", {"kms": "text"})
    note_answer(context, "unix:///one", {})
    assert context.enclaves == ["unix:///one", "unix:///two"]
    assert context.enclave == "unix:///one", "the last one"
    assert context.kms == [call] * 9


async def test_the_measurements_of_enclaves_that_left_are_kept_for_a_while_only(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "a") as first, serve_gateway(first) as served:
        pcr0_of = Measurements(served.pool)
        address = str(first.address)
        assert pcr0_of(address) == PCRS[0].hex()
        served.pool.set_addresses([])
        await served.until(lambda: not served.pool.machine.endpoints)
        assert pcr0_of(address) == PCRS[0].hex(), "its last answer may not be recorded yet"
        for number in range(17):
            async with running(tmp_path / f"next-{number}") as worker:
                served.pool.set_addresses([worker.address])
                await served.until(lambda: len(served.pool.keepers()) == 1)
                pcr0_of(str(worker.address))
                served.pool.set_addresses([])
                await served.until(lambda: not served.pool.machine.endpoints)
        assert pcr0_of("unix:///nobody") is None
        assert pcr0_of(address) is None
        assert pcr0_of(str(worker.address)) == PCRS[0].hex()
