"""Fetching an attestation document: the request, and which responses are refused."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import httpx
import pytest

from blindgate.client import AnswerRejected, ProblemError, VerificationFailed
from blindgate.client._sync.transport import send
from blindgate.client.errors import ClientError
from blindgate.client.session import attestation_document, document_request, new_nonce
from blindgate.routes import COSE_SIGN1
from tests.blindgate.client.gateway import URL

Handler = Callable[[httpx.Request], httpx.Response]


def fetch(handler: Handler, nonce: bytes = bytes(32), key_id: int | None = None) -> bytes:
    request = document_request(nonce, (("x-api-key", "secret"),), key_id=key_id)
    transport = httpx.MockTransport(handler)
    return attestation_document(send(transport, httpx.URL(URL), request, {}))


def responds(content: bytes = b"document", kind: str = COSE_SIGN1, status: int = 200) -> Handler:
    return lambda _: httpx.Response(status, content=content, headers={"content-type": kind})


def test_requests_a_cose_document_with_the_nonce() -> None:
    seen: list[httpx.Request] = []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return responds()(request)

    nonce = new_nonce()
    assert fetch(gateway, nonce) == b"document"
    assert fetch(gateway, nonce, key_id=7) == b"document"
    any_enclave, one_enclave = seen
    assert any_enclave.url.path == "/v1/attestation"
    text = any_enclave.url.params["nonce"]
    assert base64.urlsafe_b64decode(text + "=") == nonce
    assert "=" not in text
    assert "key_id" not in any_enclave.url.params
    assert one_enclave.url.params["key_id"] == "7"
    assert any_enclave.headers["accept"] == "application/cose"
    assert any_enclave.headers["x-api-key"] == "secret"


def test_nonces_are_never_the_same() -> None:
    assert new_nonce() != new_nonce()


@pytest.mark.parametrize("kind", ["", "text/html", 'application/cose; cose-type="cose-mac0"'])
def test_another_media_type_is_refused(kind: str) -> None:
    with pytest.raises(VerificationFailed, match="the gateway responded with"):
        fetch(responds(kind=kind))


@pytest.mark.parametrize("kind", ["application/cose", 'Application/COSE;cose-type="cose-sign1"'])
def test_the_parameter_of_the_media_type_is_optional(kind: str) -> None:
    assert fetch(responds(kind=kind)) == b"document"


def test_a_document_that_is_too_long_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="longer than 16384"):
        fetch(responds(content=bytes(20_000)))


def test_an_endless_response_is_not_read_to_its_end() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 20
            yield bytes(1 << 20)

    with pytest.raises(AnswerRejected, match="larger than"):
        fetch(
            lambda _: httpx.Response(200, headers={"content-type": COSE_SIGN1}, content=endless())
        )
    assert read < 1 << 25


def test_a_compressed_response_is_refused() -> None:
    headers = {"content-type": COSE_SIGN1, "content-encoding": "gzip"}
    with pytest.raises(AnswerRejected, match="compressed"):
        fetch(lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"\x1f\x8b")))


def test_a_problem_is_raised_with_a_printable_message() -> None:
    problem = b'{"title": "No enclave is ready", "detail": "Try again\\u001b[2J"}'
    with pytest.raises(ProblemError) as failed:
        fetch(responds(problem, "application/problem+json", 503))
    assert str(failed.value).startswith("No enclave is ready (503): Try again")
    assert "\x1b" not in str(failed.value)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"[" * 60_000, bytes(70_000)])
def test_an_error_without_a_problem_document_is_a_problem_too(content: bytes) -> None:
    with pytest.raises(ProblemError, match="502 without a problem document"):
        fetch(responds(content, "text/html", 502))


def test_redirects_are_not_followed() -> None:
    elsewhere = {"location": "https://elsewhere.example"}
    with pytest.raises(VerificationFailed, match=r"elsewhere\.example, which is not followed"):
        fetch(lambda _: httpx.Response(302, headers=elsewhere))


def test_every_refusal_is_an_error_of_the_sdk() -> None:
    for handler in (responds(kind="text/html"), responds(status=500), responds(bytes(20_000))):
        with pytest.raises(ClientError):
            fetch(handler)
