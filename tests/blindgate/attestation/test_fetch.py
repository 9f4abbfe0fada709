"""Asking a gateway for a document."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest

from blindgate.attestation.fetch import MEDIA_TYPE, FetchFailed, fetch_document, new_nonce

Handler = Callable[[httpx.Request], httpx.Response]
URL = "https://gateway.example/base/"


def _fetch(handler: Handler, nonce: bytes = bytes(32), url: str = URL) -> bytes:
    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        return fetch_document(client, url, nonce)


def _answer(content: bytes = b"document", kind: str = MEDIA_TYPE, status: int = 200) -> Handler:
    return lambda _: httpx.Response(status, content=content, headers={"content-type": kind})


def test_asks_for_a_cose_document_with_the_nonce() -> None:
    seen: list[httpx.Request] = []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return _answer()(request)

    nonce = new_nonce()
    assert _fetch(gateway, nonce) == b"document"
    (request,) = seen
    assert request.url.path == "/base/v1/attestation"
    text = request.url.params["nonce"]
    assert base64.urlsafe_b64decode(text + "=") == nonce
    assert "=" not in text
    assert request.headers["accept"] == MEDIA_TYPE


def test_nonces_are_never_the_same() -> None:
    assert new_nonce() != new_nonce()


@pytest.mark.parametrize("kind", ["", "text/html", 'application/cose; cose-type="cose-mac0"'])
def test_another_media_type_is_refused(kind: str) -> None:
    with pytest.raises(FetchFailed, match="not an attestation document"):
        _fetch(_answer(kind=kind))


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(FetchFailed, match="longer than 16384"):
        _fetch(_answer(content=bytes(20_000)))


def test_a_problem_is_named() -> None:
    problem = b'{"title": "No enclave is ready", "detail": "Try again\\u001b[2J"}'
    with pytest.raises(FetchFailed) as failed:
        _fetch(_answer(problem, "application/problem+json", 503))
    assert "503: No enclave is ready: Try again" in str(failed.value)
    assert "\x1b" not in str(failed.value)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"[" * 60_000, bytes(70_000)])
def test_an_error_of_another_kind_is_one_too(content: bytes) -> None:
    with pytest.raises(FetchFailed):
        _fetch(_answer(content, "text/html", 502))


def test_redirects_are_not_followed() -> None:
    with pytest.raises(FetchFailed, match="302"):
        _fetch(lambda _: httpx.Response(302, headers={"location": "https://elsewhere.example"}))


def test_a_gateway_that_is_not_there() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(FetchFailed, match="cannot ask"):
        _fetch(broken)


def test_an_address_that_is_none() -> None:
    with pytest.raises(FetchFailed):
        _fetch(_answer(), url="https://gateway:port")
