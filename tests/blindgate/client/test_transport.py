"""The httpx transports: an httpx client is sealed by one changed line, and behaves like one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from blindgate import AsyncOhttpTransport, OhttpTransport, problems
from blindgate.client import AnswerRejected, GatewayProblem, NotSealed, VerificationFailed
from devstack.nsm import DevRoot
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest
from tests.blindgate.client.gateway import URL, Enclave, Gateway, problem, trust

SEALED = "POST /.well-known/ohttp-gateway"


def echo(request: InnerRequest) -> InnerAnswer:
    return InnerAnswer(
        201, bytes(request.content), "text/plain", headers=(("x-method", request.method),)
    )


@pytest.fixture
def client(gateway: Gateway, enclave: Enclave, root: DevRoot) -> Iterator[httpx.Client]:
    enclave.handler = echo
    transport = OhttpTransport(URL, trust=trust(root), transport=httpx.MockTransport(gateway))
    with httpx.Client(transport=transport, base_url=URL) as http:
        yield http


def test_a_request_is_sealed_and_its_answer_is_an_ordinary_response(
    client: httpx.Client, enclave: Enclave
) -> None:
    response = client.put(
        "/v1/things?a=1&b=%20", content=b"body", headers={"X-Custom": "inner", "Cookie": "c=1"}
    )
    assert (response.status_code, response.text) == (201, "body")
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["x-method"] == "PUT"
    assert response.extensions["blindgate_sealed"] is True
    assert str(response.url) == f"{URL}/v1/things?a=1&b=%20"
    (asked,) = enclave.asked
    assert (asked.path, asked.query) == ("/v1/things", (("a", "1"), ("b", " ")))
    assert asked.header("x-custom") == "inner"
    assert asked.header("cookie") == "c=1"


def test_only_what_the_gateway_needs_travels_outside(
    client: httpx.Client, gateway: Gateway, enclave: Enclave
) -> None:
    for_the_gateway = {"authorization": "Bearer t", "traceparent": "00-1", "request-timeout": "90"}
    client.get("/x", headers=for_the_gateway | {"x-secret": "s"})
    outside = gateway.seen[-1].headers
    assert outside["authorization"] == "Bearer t"
    assert outside["traceparent"] == "00-1"
    assert outside["request-timeout"] == "90"
    assert "x-secret" not in outside
    assert enclave.asked[0].header("authorization") is None
    assert enclave.asked[0].header("x-secret") == "s"
    assert enclave.asked[0].header("transfer-encoding") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_is_sealed_alike(client: httpx.Client, gateway: Gateway, method: str) -> None:
    response = client.request(method, "/x")
    assert response.headers["x-method"] == method
    assert gateway.paths()[-1] == SEALED


def test_generated_and_streamed_bodies_are_sealed(client: httpx.Client, enclave: Enclave) -> None:
    client.post("/x", content=iter([b"one", b"two"]))
    client.post("/x", json={"a": 1})
    client.post("/x", files={"file": b"three"})
    assert enclave.asked[0].content == b"onetwo"
    assert enclave.asked[1].header("content-type") == "application/json"
    assert b"three" in bytes(enclave.asked[2].content)
    with client.stream("POST", "/x", content=b"streamed") as response:
        assert b"".join(response.iter_bytes()) == b"streamed"


def test_requests_elsewhere_are_refused_not_sent_in_the_clear(
    client: httpx.Client, gateway: Gateway
) -> None:
    for url in ("https://elsewhere.example/", "http://gateway.example/", f"{URL}:8443/"):
        with pytest.raises(NotSealed) as failed:
            client.get(url)
        assert isinstance(failed.value, httpx.TransportError)
    assert not gateway.seen


def test_the_default_port_may_be_written(client: httpx.Client) -> None:
    assert client.get("https://gateway.example:443/x").status_code == 201


def test_a_failed_verification_is_a_transport_error(gateway: Gateway) -> None:
    other = trust(DevRoot.generate())
    transport = OhttpTransport(URL, trust=other, transport=httpx.MockTransport(gateway))
    with (
        httpx.Client(transport=transport) as http,
        pytest.raises(httpx.TransportError) as failed,
    ):
        http.get(URL)
    assert isinstance(failed.value, VerificationFailed)
    assert failed.value.request.url == URL
    assert SEALED not in gateway.paths()


@pytest.fixture
def lenient(gateway: Gateway, root: DevRoot) -> Iterator[httpx.Client]:
    """A client that takes problems of the gateway as responses."""
    transport = OhttpTransport(
        URL, trust=trust(root), transport=httpx.MockTransport(gateway), allow_unsealed=True
    )
    with httpx.Client(transport=transport, base_url=URL) as http:
        yield http


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 502, 503])
def test_what_a_gateway_says_outside_the_seal_is_never_taken_for_the_enclaves(
    client: httpx.Client, gateway: Gateway, status: int
) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(
        status, json={"type": problems.IMAGE_REJECTED.type, "title": "Not an image"}
    )
    with pytest.raises(httpx.TransportError, match="Not an image") as failed:
        client.get("/x")
    assert isinstance(failed.value, GatewayProblem)
    assert (failed.value.status, failed.value.sealed) == (status, False)
    assert failed.value.request.url == f"{URL}/x"


def test_a_problem_of_the_enclave_is_a_response(client: httpx.Client, enclave: Enclave) -> None:
    enclave.handler = lambda _: InnerAnswer.of_problem(problems.IMAGE_REJECTED)
    response = client.get("/x")
    assert response.status_code == problems.IMAGE_REJECTED.status
    assert response.extensions["blindgate_sealed"] is True


def test_a_gateway_without_an_enclave_is_an_error(client: httpx.Client, gateway: Gateway) -> None:
    gateway.enclaves = []
    with pytest.raises(GatewayProblem) as failed:
        client.get("/x")
    assert failed.value.retry_after == 7


def test_a_problem_outside_is_a_response_where_that_is_allowed(
    lenient: httpx.Client, gateway: Gateway
) -> None:
    gateway.replace[SEALED] = lambda _: problem(
        problems.OVERLOADED, **{"retry-after": "3", "set-cookie": "tracked=1", "x-other": "1"}
    )
    response = lenient.get("/x")
    assert response.status_code == 503
    assert response.json()["type"] == problems.OVERLOADED.type
    assert response.headers["retry-after"] == "3"
    assert "set-cookie" not in response.headers
    assert response.extensions["blindgate_sealed"] is False
    with pytest.raises(httpx.HTTPStatusError):
        response.raise_for_status()


def test_a_gateway_without_an_enclave_is_a_response_where_that_is_allowed(
    lenient: httpx.Client, gateway: Gateway
) -> None:
    gateway.enclaves = []
    response = lenient.get("/x")
    assert response.status_code == 503
    assert response.json()["type"] == problems.ENCLAVE_UNAVAILABLE.type
    assert response.headers["retry-after"] == "7"
    assert response.extensions["blindgate_sealed"] is False


def test_a_success_outside_the_seal_is_refused(client: httpx.Client, gateway: Gateway) -> None:
    gateway.replace[SEALED] = lambda _: httpx.Response(200, text="trust me")
    with pytest.raises(AnswerRejected):
        client.get("/x")


def test_a_redirect_outside_the_seal_is_refused(client: httpx.Client, gateway: Gateway) -> None:
    client.follow_redirects = True
    gateway.replace[SEALED] = lambda _: httpx.Response(
        307, headers={"location": "https://elsewhere.example/"}
    )
    with pytest.raises(AnswerRejected):
        client.post("/x", content=b"photo")


def test_time_outs_reach_the_transport_underneath(client: httpx.Client, gateway: Gateway) -> None:
    client.get("/x", timeout=3.5)
    assert [request.extensions["timeout"]["read"] for request in gateway.seen] == [3.5] * 3


def test_it_can_be_mounted_for_the_gateway_alone(gateway: Gateway, root: DevRoot) -> None:
    sealed = OhttpTransport(URL, trust=trust(root), transport=httpx.MockTransport(gateway))
    plain = httpx.MockTransport(lambda _: httpx.Response(204))
    with httpx.Client(mounts={URL: sealed}, transport=plain) as http:
        assert http.get("https://elsewhere.example/").status_code == 204
        assert http.get(f"{URL}/x").extensions["blindgate_sealed"] is True


def test_the_asynchronous_transport_does_the_same(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    enclave.handler = echo

    async def run() -> None:
        transport = AsyncOhttpTransport(
            URL, trust=trust(root), transport=httpx.MockTransport(gateway)
        )
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            assert (await http.post("/x", content=b"body")).text == "body"
            with pytest.raises(NotSealed):
                await http.get("https://elsewhere.example/")
            gateway.enclaves = []
            gateway.replace[SEALED] = lambda _: problem(problems.OHTTP_KEY)
            with pytest.raises(GatewayProblem):
                await http.get("/x")
        transport = AsyncOhttpTransport(
            URL, trust=trust(root), transport=httpx.MockTransport(gateway), allow_unsealed=True
        )
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            assert (await http.get("/x")).status_code == 503

    asyncio.run(run())
    assert repr(gateway.paths().count("GET /v1/attestation")) == "1"
