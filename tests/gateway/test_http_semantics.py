"""What RFC 9110 asks of every route: HEAD, content codings, and errors that say what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import problems
from blindgate.client.request import OUTER_HEADERS
from blindgate.link import Operation
from blindgate.problems import Problem
from tests.gateway.conftest import Served, serve_gateway
from tests.gateway.fake_worker import running
from tests.gateway.wire import Wire, head

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
PAGE = {"origin": "https://app.example"}
UPLOADS = {
    "/v1/detections": "application/octet-stream",
    "/.well-known/ohttp-gateway": "message/ohttp-req",
    "/v2/models/fake/infer": "application/json",
    "/v2/models/fake/versions/1/infer": "application/json",
}
READABLE = [
    "/",
    "/console/assets/nothing.js",
    "/console/config.json",
    "/docs",
    "/docs/icon.png",
    "/docs/start.js",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui.js",
    "/livez",
    "/nowhere",
    "/openapi.json",
    "/readyz",
    "/v1/attestation",
    "/v1/attestation?nonce=bm9uY2UgZm9yIHRoZSBleGFtcGxl",
    "/v1/enclaves",
    "/v1/models",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/fake",
    "/v2/models/fake/ready",
    "/v2/models/fake/versions/1",
    "/v2/models/fake/versions/1/ready",
    "/v2/models/none",
    "/.well-known/ohttp-gateway",
]
#: What is another each time.
OWN = {"date", "x-request-id"}


def is_problem(answer: Any, problem: Problem) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["type"]) == (problem.status, problem.type)
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def readable_paths(served: Served) -> set[str]:
    """The template of each path that GET is documented for."""
    described = served.app.openapi()["paths"]
    return {path for path, methods in described.items() if "get" in methods}


async def test_the_list_of_paths_to_try_is_complete(worker_path: Path) -> None:
    async with serve_gateway() as served:
        for template in readable_paths(served):
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            assert any(re.fullmatch(pattern, path.partition("?")[0]) for path in READABLE), template


@pytest.mark.parametrize("path", READABLE)
async def test_head_is_get_without_a_body(worker_path: Path, path: str) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        whole = await served.http.get(path)
        answer = await served.http.head(path)
        assert answer.status_code == whole.status_code
        assert answer.content == b""
        assert "x-request-id" in answer.headers
        for name in (whole.headers.keys() | answer.headers.keys()) - OWN:
            assert answer.headers.get(name) == whole.headers.get(name), name


async def test_after_head_the_connection_goes_on(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker) as served,
        Wire.to(served) as wire,
    ):
        for path in ("/livez", "/v1/models", "/nowhere", "/docs/swagger-ui.js"):
            await wire.send(head(path, method="HEAD") + head("/livez", method="GET"))
            assert int((await wire.response("HEAD")).headers["content-length"]) > 0
            assert (await wire.response()).json() == {"live": True}


async def test_head_is_counted_as_the_route_and_logged_as_head(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gateway.http.edge")
    async with serve_gateway() as served:
        await served.http.head("/readyz")
        served.app.state.records.write()
    (line,) = [vars(each) for each in caplog.records if each.name == "gateway.http.edge"]
    assert (line["method"], line["route"], line["status"]) == ("HEAD", "/readyz", 503)


async def test_head_needs_the_sign_in_that_get_needs(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"version": 1, "keys": []}')
    async with serve_gateway(api_keys=keys) as served:
        assert (await served.http.head("/v1/models")).status_code == 401
        assert (await served.http.head("/livez")).status_code == 200


async def test_metrics_answer_head_and_name_what_is_not_there(unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    async with serve_gateway(metrics_port=unused_port), httpx.AsyncClient(timeout=20) as http:
        for path in ("/metrics", "/metrics?name=up"):
            answer = await http.head(url + path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert int(answer.headers["content-length"]) > 1000
            assert (await http.get(url + path)).content
        for answer in (await http.get(url), await http.post(f"{url}/metrics")):
            assert answer.status_code == 404
            assert answer.headers["content-type"] == problems.MEDIA_TYPE
            assert answer.json()["type"] == problems.NOT_FOUND.type
            assert answer.json()["request_id"]
        assert (await http.head(url)).status_code == 404


# Content codings


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "aws-chunked", "GZIP", "identity, gzip"])
@pytest.mark.parametrize("path", UPLOADS)
async def test_an_encoded_body_is_refused_with_what_would_be_taken(
    worker_path: Path, path: str, coding: str
) -> None:
    headers = {"content-type": UPLOADS[path], "content-encoding": coding}
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(path, content=b"\x07abc", headers=headers)
        assert not worker.of(Operation.DETECT)
        assert not worker.of(Operation.OHTTP)
    body = is_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)
    assert "Content-Encoding" in body["detail"]
    assert answer.headers["accept-encoding"] == "identity"


async def test_an_encoded_form_is_refused(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post(
            "/v1/detections", files={"file": b"abc"}, headers={"content-encoding": "deflate"}
        )
    is_problem(answer, problems.UNSUPPORTED_MEDIA_TYPE)


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
async def test_a_body_that_says_it_is_not_encoded_is_taken(worker_path: Path, coding: str) -> None:
    headers = {"content-type": "application/octet-stream", "content-encoding": coding}
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        answer = await served.http.post("/v1/detections", content=b"abc", headers=headers)
    assert answer.status_code == 200


# Methods


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/models", "GET, HEAD"),
        ("/v1/detections", "POST"),
        ("/.well-known/ohttp-gateway", "GET, HEAD, POST"),
        ("/v2/models/fake/infer", "POST"),
        ("/livez", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
        ("/console/config.json", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "QUERY"])
async def test_a_method_that_is_not_taken_is_a_problem_with_those_that_are(
    path: str, methods: str, method: str
) -> None:
    async with serve_gateway() as served:
        answer = await served.http.request(method, path)
    is_problem(answer, problems.METHOD_NOT_ALLOWED)
    assert answer.headers["allow"] == methods


# Web pages


def preflight(*names: str, method: str = "POST") -> dict[str, str]:
    asked = {"access-control-request-headers": ",".join(names)} if names else {}
    return {"access-control-request-method": method, **asked, **PAGE}


def outer_headers_of_the_javascript_client() -> set[str]:
    source = (ROOT / "clients/js/src/client.ts").read_text()
    listed = re.search(r"const OUTER = new Set\(\[(.*?)\]\)", source, re.DOTALL)
    assert listed is not None
    return set(re.findall(r'"([\w-]+)"', listed[1]))


@pytest.mark.parametrize("path", [*UPLOADS, "/v1/attestation", "/v1/models"])
async def test_pages_may_send_what_our_clients_send(path: str) -> None:
    names = outer_headers_of_the_javascript_client() | (OUTER_HEADERS - {"user-agent"})
    assert {"traceparent", "tracestate", "authorization"} <= names
    async with serve_gateway(cors_origins="https://app.example") as served:
        for method in ("GET", "HEAD", "POST"):
            asked = preflight(*sorted(names), "content-type", "accept", method=method)
            answer = await served.http.options(path, headers=asked)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert names <= set(allowed)


@pytest.mark.parametrize(
    "asked",
    [
        preflight("x-other"),
        preflight(method="DELETE"),
        {**preflight(), "origin": "https://evil.example"},
        {**preflight(), "access-control-request-private-network": "true"},
    ],
)
async def test_a_refused_preflight_is_a_problem(asked: dict[str, str]) -> None:
    async with serve_gateway(cors_origins="https://app.example") as served:
        answer = await served.http.options("/v1/detections", headers=asked)
    is_problem(answer, problems.CROSS_ORIGIN_REFUSED)
    assert "origin" in answer.headers["vary"].lower()
    if asked["origin"] != PAGE["origin"]:
        assert "access-control-allow-origin" not in answer.headers


async def test_pages_can_read_problems(worker_path: Path) -> None:
    async with serve_gateway(cors_origins="https://app.example") as served:
        for answer in (
            await served.http.get("/nowhere", headers=PAGE),
            await served.http.delete("/livez", headers=PAGE),
            await served.http.post("/v1/detections", content=b"x", headers=PAGE),
            await served.http.options("/livez", headers=PAGE),
        ):
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            assert answer.headers["access-control-allow-origin"] == "https://app.example"


# Every error


async def test_an_unexpected_error_is_a_problem(
    worker_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        monkeypatch.setattr(served.app.state.dataplane, "models", lambda: 1 / 0)
        for method in ("GET", "HEAD"):
            answer = await served.http.request(method, "/v1/models")
            assert answer.status_code == problems.INTERNAL_ERROR.status
        is_problem(await served.http.get("/v1/models"), problems.INTERNAL_ERROR)


async def test_many_kinds_of_errors_are_problems_with_different_ids(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=1024) as served:
        requests = [
            ("GET", "/%00", {}, b""),
            ("GET", "/v1/models/", {}, b""),
            ("GET", "/v1//models", {}, b""),
            ("GET", "/v1/models", {"accept": "image/png"}, b""),
            ("GET", "/v1/attestation", {}, b""),
            ("POST", "/v1/detections", {}, b"x"),
            ("POST", "/v1/detections", {"content-type": "multipart/form-data"}, b"x"),
            ("POST", "/v1/detections?tiles=9", {"content-type": UPLOADS["/v1/detections"]}, b"x"),
            ("POST", "/v1/detections", {"content-type": UPLOADS["/v1/detections"]}, bytes(2000)),
            ("POST", "/v2/models/fake/infer", {"content-type": "application/json"}, b"{"),
            ("GET", "/v2/repository/index", {}, b""),
            ("PUT", "/v1/detections", {}, b"x"),
        ]
        seen = set()
        for method, path, headers, content in requests:
            answer = await served.http.request(method, path, headers=headers, content=content)
            assert answer.status_code >= 400
            assert answer.headers["content-type"] == problems.MEDIA_TYPE
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            seen.add(answer.json()["request_id"])
    assert len(seen) == len(requests)
