"""Sealed requests, attestation, models, health: through a real server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.attestation import UserData, verify
from blindgate.link import Operation, Outcome, RequestHeader
from gateway.pool import Probe
from tests.gateway.conftest import serve_gateway
from tests.gateway.fake_worker import OTHER_PCRS, keys_body, running, trust

pytestmark = pytest.mark.anyio
OHTTP = "/.well-known/ohttp-gateway"
SEALED = {"content-type": "message/ohttp-req"}
NONCE = bytes(range(32))
NONCE_TEXT = base64.urlsafe_b64encode(NONCE).rstrip(b"=").decode()
ATTESTATION = f"/v1/attestation?nonce={NONCE_TEXT}"


def is_problem(answer: Any, problem: problems.Problem) -> None:
    assert (answer.status_code, answer.json()["type"]) == (problem.status, problem.type)
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"


async def test_the_keys_are_those_of_an_enclave(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.get(OHTTP)
        is_problem(
            await served.http.get(OHTTP, headers={"accept": "text/html"}), problems.NOT_ACCEPTABLE
        )
    assert answer.headers["content-type"] == "application/ohttp-keys"
    assert answer.headers["cache-control"] == "no-cache", "keys rotate"
    assert answer.content == keys_body(7)


async def test_a_sealed_request_passes_through_unread(worker_path: Path) -> None:
    sealed = b"\x07" + bytes(range(256)) * 1000

    async def open_it(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        return Outcome.OK, b"sealed answer"

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = open_it
        answer = await served.http.post(OHTTP, content=sealed, headers=SEALED)
        ((header, body),) = worker.of(Operation.OHTTP)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "message/ohttp-res"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == b"sealed answer"
    assert body == sealed
    assert not header.params


async def test_a_sealed_request_goes_to_the_enclave_that_has_its_key(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a", key_ids=(1,)) as a,
        running(tmp_path / "b", key_ids=(2, 3)) as b,
        serve_gateway(a, b) as served,
    ):
        for _ in range(3):
            await served.http.post(OHTTP, content=b"\x03sealed", headers=SEALED)
        is_problem(
            await served.http.post(OHTTP, content=b"\x04sealed", headers=SEALED),
            problems.OHTTP_KEY,
        )
        assert len(b.of(Operation.OHTTP)) == 3
        assert not a.of(Operation.OHTTP)


async def test_a_sealed_request_is_checked_from_outside_only(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=2048) as served:
        post = served.http.post
        is_problem(await post(OHTTP, headers=SEALED), problems.EMPTY_BODY)
        is_problem(await post(OHTTP, content=b"\x07"), problems.UNSUPPORTED_MEDIA_TYPE)
        is_problem(
            await post(OHTTP, content=b"\x07" * 2049, headers=SEALED), problems.BODY_TOO_LARGE
        )
        assert not worker.of(Operation.OHTTP)


async def test_a_document_answers_the_nonce(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.get(ATTESTATION, headers={"accept": "application/cose"})
    assert answer.headers["content-type"] == 'application/cose; cose-type="cose-sign1"'
    assert answer.headers["cache-control"] == "no-store"
    assert verify(answer.content, trust=trust(), nonce=NONCE).pcr_set is not None


async def test_in_json_the_keys_that_the_document_vouches_for_are_beside_it(
    worker_path: Path,
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.get(ATTESTATION, headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    document = verify(base64.b64decode(body["document"]), trust=trust(), nonce=NONCE)
    keys = base64.b64decode(body["keys"])
    assert UserData.decode(document.user_data).keys == hashlib.sha256(keys).digest()


async def test_after_a_rotation_document_and_keys_still_fit(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, probe=Probe(period=60, patience=2)) as served,
    ):
        worker.key_ids = (7, 8)
        answer = await served.http.get(ATTESTATION, headers={"accept": "application/json"})
        assert base64.b64decode(answer.json()["keys"]) == keys_body(7, 8)


async def _silent(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_asking_again_for_rotated_keys_heeds_the_deadline(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, probe=Probe(period=60, patience=60)) as served,
    ):
        worker.key_ids = (7, 8)
        worker.answers[Operation.STATUS] = _silent
        answer = await asyncio.wait_for(
            served.http.get(ATTESTATION, headers={"request-timeout": "0.3"}), 15
        )
    is_problem(answer, problems.DEADLINE_EXCEEDED)


async def test_asking_again_for_rotated_keys_ends_with_its_client(
    worker_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, probe=Probe(period=60, patience=60)) as served,
    ):
        worker.key_ids = (7, 8)
        worker.answers[Operation.STATUS] = _silent
        with pytest.raises(httpx.ReadTimeout):
            await served.http.get(ATTESTATION, timeout=0.3, headers={"request-timeout": "100"})
        await served.until(
            lambda: any(getattr(r, "problem", "") == "client-gone" for r in caplog.records)
        )


async def test_a_key_id_picks_the_enclave_that_attests(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a", key_ids=(1,)) as a,
        running(tmp_path / "b", key_ids=(2,)) as b,
        serve_gateway(a, b) as served,
    ):
        for key_id in (1, 2):
            answer = await served.http.get(
                f"{ATTESTATION}&key_id={key_id}", headers={"accept": "application/json"}
            )
            assert base64.b64decode(answer.json()["keys"]) == keys_body(key_id)
        is_problem(await served.http.get(f"{ATTESTATION}&key_id=3"), problems.OHTTP_KEY)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "nonce=",
        "nonce=c2hvcnQ",
        f"nonce={'A' * 20}",  # 15 bytes
        f"nonce={'A' * 87}",
        f"nonce={NONCE_TEXT}=",
        f"nonce={'+' * 22}",
        f"nonce={'A' * 25}",  # no bytes have this length in base64
        f"nonce={'A' * 21}B",  # bits beyond the last byte
        f"nonce={NONCE_TEXT}&key_id=256",
        f"nonce={NONCE_TEXT}&key_id=-1",
        f"nonce={NONCE_TEXT}&key_id=one",
    ],
)
async def test_a_nonce_that_is_none_is_refused(worker_path: Path, query: str) -> None:
    async with serve_gateway() as served:
        answer = await served.http.get(f"/v1/attestation?{query}")
    is_problem(answer, problems.INVALID_REQUEST)
    assert answer.json()["errors"][0]["parameter"] in ("nonce", "key_id")


async def test_models_are_listed_once_each(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a") as a,
        running(tmp_path / "b") as b,
        serve_gateway(a, b) as served,
    ):
        answer = await served.http.get("/v1/models")
    assert answer.json() == {
        "models": [{"name": "fake", "version": "1", "labels": ["airplane", "cat"]}]
    }


async def test_readiness_follows_the_enclaves(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        ready = await served.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "enclaves": {"ready": 1}})
        await worker.stop()
        await served.until(lambda: not served.pool.is_ready)
        assert (await served.http.get("/readyz")).status_code == 503
        assert (await served.http.get("/livez")).json() == {"live": True}


async def test_an_enclave_with_other_measurements_never_gets_a_body(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "good") as good,
        running(tmp_path / "other", pcrs=OTHER_PCRS) as other,
        serve_gateway(good, other, wait=False) as served,
    ):
        await served.until_ready(1)
        await served.until(lambda: len(other.requests) > 1)
        for _ in range(5):
            assert (await served.http.post(OHTTP, content=b"\x07", headers=SEALED)).is_success
    assert {header.operation for header, _ in other.requests} == {Operation.ATTEST}


async def test_what_the_framework_refuses_is_a_problem_too() -> None:
    async with serve_gateway() as served:
        is_problem(await served.http.get("/nothing"), problems.NOT_FOUND)
        is_problem(await served.http.get("/v1/models/"), problems.NOT_FOUND)
        answer = await served.http.delete("/v1/models")
    is_problem(answer, problems.METHOD_NOT_ALLOWED)
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_method_that_is_not_taken_is_told_all_that_are(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        for path, methods in (
            ("/.well-known/ohttp-gateway", "GET, HEAD, POST"),
            ("/v1/detections", "POST"),
            ("/v2/models/fake", "GET, HEAD"),
        ):
            answer = await served.http.delete(path)
            is_problem(answer, problems.METHOD_NOT_ALLOWED)
            assert answer.headers["allow"] == methods
