"""Several enclaves behind one gateway: sealed requests find the one that holds their key."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from blindgate import problems, routes
from blindgate.link import Operation, Outcome, RequestHeader
from blindgate.sealing import keys
from tests.gateway.conftest import serve_gateway
from tests.gateway.fake_worker import FakeWorker, keys_body, running

pytestmark = pytest.mark.anyio
URL = "/.well-known/ohttp-gateway"
SEALED = {"content-type": routes.OHTTP_REQUEST_TYPE}
NONCE = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()


async def test_a_sealed_request_goes_to_the_enclave_that_holds_its_key(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a", key_ids=(7,)) as one,
        running(tmp_path / "b", key_ids=(8, 9)) as other,
        serve_gateway(one, other) as served,
    ):
        for key_id in (7, 8, 9, 8, 7):
            answer = await served.http.post(URL, content=bytes([key_id]) + b"..", headers=SEALED)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == routes.OHTTP_RESPONSE_TYPE
        assert [body[0] for _, body in one.of(Operation.OHTTP)] == [7, 7]
        assert [body[0] for _, body in other.of(Operation.OHTTP)] == [8, 9, 8]


async def test_a_key_that_nobody_holds_is_the_registered_problem(tmp_path: Path) -> None:
    async with running(tmp_path / "a", key_ids=(7,)) as one, serve_gateway(one) as served:
        answer = await served.http.post(URL, content=b"\x63..", headers=SEALED)
        assert answer.status_code == problems.OHTTP_KEY.status
        assert answer.json()["type"] == problems.OHTTP_KEY.type
        assert one.of(Operation.OHTTP) == []


async def test_the_keys_of_each_enclave_are_given_in_turn(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a", key_ids=(7,)) as one,
        running(tmp_path / "b", key_ids=(8,)) as other,
        serve_gateway(one, other) as served,
    ):
        given = [(await served.http.get(URL)).content for _ in range(4)]
        assert sorted(given) == sorted([keys_body(7), keys_body(8)] * 2)


async def test_a_document_is_of_the_enclave_that_holds_the_key(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "a", key_ids=(7,)) as one,
        running(tmp_path / "b", key_ids=(8,)) as other,
        serve_gateway(one, other) as served,
    ):
        before = len(one.of(Operation.ATTEST)), len(other.of(Operation.ATTEST))
        for _ in range(2):
            answer = await served.http.get(
                "/v1/attestation", params={"nonce": NONCE, "key_id": "8"}
            )
            assert answer.status_code == 200
        unknown = await served.http.get("/v1/attestation", params={"nonce": NONCE, "key_id": "9"})
        assert unknown.json()["type"] == problems.OHTTP_KEY.type
        asked_of_one = [
            header for header, _ in one.of(Operation.ATTEST) if header.params["nonce"] == bytes(32)
        ]
        assert asked_of_one == []
        assert len(other.of(Operation.ATTEST)) >= before[1] + 2


async def test_an_enclave_whose_key_ids_another_one_has_is_told_to_make_others(
    tmp_path: Path,
) -> None:
    def gives_way(worker: FakeWorker, to: int) -> None:
        async def keys_of(header: RequestHeader, _: bytes) -> tuple[Outcome, bytes]:
            if header.params.get("taken") == bytes([7]):
                worker.key_ids = (to,)
            return Outcome.OK, keys_body(*worker.key_ids)

        worker.answers[Operation.KEYS] = keys_of

    async with (
        running(tmp_path / "a", key_ids=(7,)) as one,
        running(tmp_path / "b", key_ids=(7,)) as other,
    ):
        gives_way(one, 20)
        gives_way(other, 30)
        async with serve_gateway(one, other) as served:
            given = {(await served.http.get(URL)).content for _ in range(2)}
            ids = {each.key_id for body in given for each in keys.decode_list(body)}
            assert len(ids) == 2
            for key_id in ids:
                answer = await served.http.post(
                    URL, content=bytes([key_id]) + b"..", headers=SEALED
                )
                assert answer.status_code == 200
            assert len(one.of(Operation.OHTTP)) == len(other.of(Operation.OHTTP)) == 1
