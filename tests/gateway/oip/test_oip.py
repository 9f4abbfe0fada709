"""`/v2/…` through a real server, with an enclave that does as it is told."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.detections import Box, Detection, Detections, ImageSize, ModelRef
from blindgate.link import Operation, Outcome, RequestHeader
from blindgate.oip import OipError
from tests.gateway.conftest import serve_gateway
from tests.gateway.fake_worker import FakeWorker, running
from tests.gateway.test_detections import is_problem

pytestmark = pytest.mark.anyio
INFER = "/v2/models/fake/infer"
FOUND = Detections(
    model=ModelRef(name="fake", version="1"),
    image=ImageSize(width=4, height=3),
    detections=(
        Detection(label="cat", class_id=17, score=0.5, box=Box(x_min=0, y_min=1, x_max=2, y_max=3)),
    ),
)
OUTCOMES = {
    b"bad": Outcome.ENVELOPE_REJECTED,
    b"refused": Outcome.KMS_REFUSED,
    b"down": Outcome.KMS_UNAVAILABLE,
    b"sealed": Outcome.SEALED_ANSWERS_ONLY,
}


async def detect(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    if body == b"nonsense":
        return Outcome.OK, b"{}"
    if body == b"other":
        other = FOUND.model_copy(update={"model": ModelRef(name="fake", version="2")})
        return Outcome.OK, other.to_json()
    outcome = OUTCOMES.get(body, Outcome.OK)
    return outcome, FOUND.to_json() if outcome is Outcome.OK else b""


def envelopes(*images: bytes, **members: Any) -> dict[str, Any]:
    data = [base64.b64encode(each).decode() for each in images]
    image = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}
    return {"inputs": [image], **members}


def enclave(path: Path) -> Any:
    return running(path, answers={Operation.DETECT: detect})


def outputs(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"] for each in answer.json()["outputs"]}


def is_oip_problem(answer: Any, problem: problems.Problem) -> dict[str, Any]:
    body = is_problem(answer, problem)
    assert isinstance(body["error"], str)
    return body


async def test_an_envelope_goes_as_a_tensor_and_its_objects_come_as_tensors(
    worker_path: Path,
) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        wanted = {"min_score": 0.25, "classes": "cat,dog"}
        body = envelopes(b"an envelope", id="mine", parameters=wanted)
        answer = await served.http.post(INFER, json=body)
        ((header, envelope),) = worker.of(Operation.DETECT)
    assert envelope == b"an envelope"
    assert header.params["min_score"] == 0.25
    assert header.params["classes"] == ["cat", "dog"]
    assert header.params["format"] == "json"
    assert outputs(answer)["labels"] == ["cat"]
    assert outputs(answer)["boxes"] == [0, 1, 2, 3]
    assert answer.json()["id"] == "mine"
    assert answer.json()["model_version"] == "1"
    assert answer.headers["cache-control"] == "no-store"


async def test_of_several_envelopes_each_fails_alone(worker_path: Path) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            INFER, json=envelopes(b"good", b"bad", b"refused", b"nonsense", b"other", b"good")
        )
        assert len(worker.of(Operation.DETECT)) == 6
    got = outputs(answer)
    assert got["num_detections"] == [1, 0, 0, 0, 0, 1]
    assert got["errors"] == [
        "",
        problems.ENVELOPE_REJECTED.type,
        problems.KMS_REFUSED.type,
        problems.INTERNAL_ERROR.type,
        problems.ENCLAVE_UNAVAILABLE.type,
        "",
    ]


async def test_tensors_may_follow_the_json_part_both_ways(worker_path: Path) -> None:
    data = struct.pack("<I", 11) + b"an envelope"
    said = {"binary_data_size": len(data)}
    image = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": said}
    wanted = [
        {"name": "scores", "parameters": {"binary_data": True}},
        {"name": "labels", "parameters": {"binary_data": False}},
    ]
    head = json.dumps({"inputs": [image], "outputs": wanted}).encode()
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        for headers in ({}, {"content-type": "application/octet-stream"}):
            length = {"Inference-Header-Content-Length": str(len(head))}
            answer = await served.http.post(INFER, content=head + data, headers=length | headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "application/octet-stream"
            size = int(answer.headers["inference-header-content-length"])
            assert json.loads(answer.content[:size])["outputs"][1]["data"] == ["cat"]
            assert struct.unpack("<f", answer.content[size:]) == (0.5,)
        assert [body for _, body in worker.of(Operation.DETECT)] == [b"an envelope"] * 2


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (b"bad", problems.ENVELOPE_REJECTED),
        (b"refused", problems.KMS_REFUSED),
        (b"down", problems.KMS_UNAVAILABLE),
        (b"sealed", problems.SEALED_ANSWERS_ONLY),
    ],
)
async def test_a_problem_of_all_envelopes_is_the_calls(
    worker_path: Path, image: bytes, problem: problems.Problem
) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        for images in ([image], [image, image]):
            answer = await served.http.post(INFER, json=envelopes(*images))
            said = is_oip_problem(answer, problem)["error"]
            assert said == f"{problem.title}. {problem.advice}"


async def test_what_is_wrong_with_a_request_is_named(worker_path: Path) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        body = envelopes(b"x")
        body["inputs"][0]["shape"] = [2]
        refused = is_oip_problem(await served.http.post(INFER, json=body), problems.INVALID_REQUEST)
        assert refused["errors"][0]["in"] == "body"
        assert refused["errors"][0]["parameter"] == "inputs.0.data"
        answer = await served.http.post(f"{INFER}", content=b"")
        is_oip_problem(answer, problems.EMPTY_BODY)
        answer = await served.http.post(INFER, content=b"x", headers={"content-type": "text/html"})
        is_oip_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)
        answer = await served.http.post(
            INFER, json=envelopes(b"x"), headers={"content-encoding": "gzip"}
        )
        is_oip_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)
        answer = await served.http.post(
            INFER, json=envelopes(b"x"), headers={"request-timeout": "0"}
        )
        is_oip_problem(answer, problems.INVALID_REQUEST)
        answer = await served.http.post(
            INFER, json=envelopes(b"x"), headers={"accept": "image/png"}
        )
        is_oip_problem(answer, problems.NOT_ACCEPTABLE)
        assert worker.of(Operation.DETECT) == []


async def test_models_that_do_not_run_are_not_found(worker_path: Path) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        for path in ("other", "fake/versions/7"):
            for method, verb in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
                content = b"x" * 300_000 if method == "POST" else None
                answer = await served.http.request(
                    method, f"/v2/models/{path}{verb}", content=content
                )
                is_oip_problem(answer, problems.NOT_FOUND)


async def test_every_error_below_v2_has_a_member_for_the_protocols_clients(
    worker_path: Path,
) -> None:
    keys = '{"version":1,"keys":[]}'
    path = worker_path.with_suffix(".json")
    path.write_text(keys)
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        http = served.http
        for method, where, problem in (
            ("POST", "/v2/repository/index", problems.NOT_FOUND),
            ("GET", "/v2/nothing", problems.NOT_FOUND),
            ("GET", INFER, problems.METHOD_NOT_ALLOWED),
            ("DELETE", "/v2", problems.METHOD_NOT_ALLOWED),
            ("POST", "/v2/health/live", problems.METHOD_NOT_ALLOWED),
        ):
            is_oip_problem(await http.request(method, where), problem)
        for where in ("/v1/nothing", "/v20"):
            assert "error" not in (await http.get(where)).json()
    async with enclave(worker_path) as worker, serve_gateway(worker, max_body=1024) as served:
        too_much = await served.http.post(INFER, content=b"x" * 1025)
        is_oip_problem(too_much, problems.BODY_TOO_LARGE)
    async with enclave(worker_path) as worker, serve_gateway(worker, api_keys=path) as served:
        answer = await served.http.post(INFER, json=envelopes(b"x"))
        assert "API key" in is_oip_problem(answer, problems.UNAUTHORIZED)["error"]


async def test_a_timeout_in_microseconds_is_the_requests_deadline(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = hang(worker)
        body = envelopes(b"a", b"b", parameters={"timeout": 300_000})
        answer = await served.http.post(INFER, json=body)
        is_oip_problem(answer, problems.DEADLINE_EXCEEDED)
        for header, _ in worker.of(Operation.DETECT):
            assert header.deadline_ms <= 300
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        later = envelopes(b"a", parameters={"timeout": 10**15})
        assert (await served.http.post(INFER, json=later)).is_success


async def test_a_class_that_the_enclave_does_not_know_is_named(worker_path: Path) -> None:
    said = [{"parameter": "classes", "message": 'The model has no class "Cup"', "more": 1}]

    async def refuse(*_: Any) -> tuple[Outcome, bytes]:
        return Outcome.INVALID_REQUEST, json.dumps(said).encode()

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = refuse
        answer = await served.http.post(INFER, json=envelopes(b"a", b"b"))
        (fault,) = is_oip_problem(answer, problems.INVALID_REQUEST)["errors"]
        assert fault == {
            "in": "body",
            "parameter": "parameters.classes",
            "message": 'The model has no class "Cup"',
        }
        plain = await served.http.post(
            "/v1/detections?classes=Cup",
            content=b"x",
            headers={"content-type": "application/octet-stream"},
        )
        (fault,) = is_problem(plain, problems.INVALID_REQUEST)["errors"]
        assert (fault["in"], fault["parameter"]) == ("query", "classes")


@pytest.mark.parametrize("said", [b"", b"no JSON", b"{}", b"[1]", b"x" * 100_000])
async def test_a_worker_that_does_not_say_what_is_wrong_is_no_internal_error(
    worker_path: Path, said: bytes
) -> None:
    async def refuse(*_: Any) -> tuple[Outcome, bytes]:
        return Outcome.INVALID_REQUEST, said

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = refuse
        answer = await served.http.post(INFER, json=envelopes(b"a"))
        assert is_oip_problem(answer, problems.INVALID_REQUEST)["errors"]


async def test_an_unexpected_failure_of_one_envelope_ends_the_others(
    worker_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = hang(worker)
        asked = served.app.state.dataplane._ask

        async def ask(request: Any, operation: Any, body: Any, *rest: Any) -> Any:
            if bytes(body[0]) == b"broken":
                raise RuntimeError("never shown")
            return await asked(request, operation, body, *rest)

        monkeypatch.setattr(served.app.state.dataplane, "_ask", ask)
        answer = await served.http.post(INFER, json=envelopes(b"a", b"broken"), timeout=20)
        is_oip_problem(answer, problems.INTERNAL_ERROR)
        await served.until(lambda: served.app.state.dataplane.held_bytes == 0)


async def test_large_json_is_parsed_beside_the_event_loop(worker_path: Path) -> None:
    """A health check is answered while a body of the largest size is parsed."""
    parsing, go_on = threading.Event(), threading.Event()
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        plane = served.app.state.dataplane

        def slow(*_: Any) -> None:
            parsing.set()
            assert go_on.wait(20)
            raise OipError.of("inputs", "never mind")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.dataplane.parse_request", slow)
            waiting = asyncio.create_task(served.http.post(INFER, json=envelopes(b"x" * 1000)))
            await served.until(parsing.is_set)
            assert (await served.http.get("/livez")).is_success
            assert plane.held_bytes > 1000
            go_on.set()
            is_oip_problem(await waiting, problems.INVALID_REQUEST)
        assert plane.held_bytes == 0


async def test_the_server_and_its_model_are_described(worker_path: Path) -> None:
    async with enclave(worker_path) as worker, serve_gateway(worker) as served:
        for path in ("/v2/models/fake", "/v2/models/fake/versions/1"):
            body = (await served.http.get(path)).json()
            assert (body["name"], body["versions"]) == ("fake", ["1"])
            assert body["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
            ready = await served.http.get(f"{path}/ready")
            assert ready.json() == {"name": "fake", "ready": True}
            assert (await served.http.post(f"{path}/infer", json=envelopes(b"x"))).is_success
        assert (await served.http.get("/v2")).json()["name"] == "blindgate"
        assert (await served.http.get("/v2/health/live")).json() == {"live": True}
        assert (await served.http.get("/v2/health/ready")).json() == {"ready": True}


async def test_without_an_enclave_nothing_is_ready() -> None:
    async with serve_gateway() as served:
        answer = await served.http.get("/v2/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
        is_oip_problem(await served.http.get("/v2/models/fake/ready"), problems.NOT_FOUND)


async def test_each_envelope_counts_for_the_rate(worker_path: Path) -> None:
    async with enclave(worker_path) as worker, serve_gateway(
        worker, rate_limit="5/hour"
    ) as served:  # fmt: skip
        answer = await served.http.post(INFER, json=envelopes(b"a", b"b", b"c"))
        assert answer.headers["ratelimit"].startswith('"caller";r=2;')
        answer = await served.http.post(INFER, json=envelopes(b"a", b"b", b"c"))
        is_oip_problem(answer, problems.RATE_LIMITED)


async def test_each_envelope_is_in_the_audit_log(worker_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with enclave(worker_path) as worker, serve_gateway(worker, audit_log=path) as served:
        await served.http.post(INFER, json=envelopes(b"good", b"bad"))
        await served.http.get("/v2/health/live")
    (line,) = map(json.loads, path.read_text().splitlines())
    assert (line["operation"], line["outcome"], len(line["ciphertexts"])) == ("infer", "ok", 2)


async def test_a_client_that_leaves_cancels_all_its_envelopes(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = hang(worker)
        with pytest.raises(httpx.ReadTimeout):
            await served.http.post(INFER, json=envelopes(b"a", b"b"), timeout=0.2)
        await served.until(lambda: served.app.state.dataplane.held_bytes == 0)
        await served.until(worker.cancelled.is_set)


def hang(worker: FakeWorker) -> Any:
    async def never(*_: Any) -> tuple[Outcome, bytes]:
        await asyncio.sleep(60)
        return Outcome.OK, b""

    return never
