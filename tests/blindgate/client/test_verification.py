"""Fails closed: whatever is wrong with the enclave, the photo is not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from blindgate import problems, routes
from blindgate.attestation import (
    AWS_NITRO_ROOT,
    AttestationError,
    DebugMode,
    InvalidUserData,
    PcrMismatch,
    PcrSet,
    Trust,
    UntrustedChain,
    UserData,
)
from blindgate.client import Blindgate, ProblemError, VerificationFailed
from blindgate.client.session import VERIFY_AGAIN_S, Session
from blindgate.sealing import keys
from blindgate.sealing.suites import Kem
from devstack.nsm import DevRoot
from tests.blindgate.client.gateway import PCRS, URL, Enclave, Gateway, problem, trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest import MonkeyPatch  # noqa: PT013

KEYS = "GET /.well-known/ohttp-gateway"
ATTESTATION = "GET /v1/attestation"
SEALED = "POST /.well-known/ohttp-gateway"


def client(gateway: Gateway, trusted: Trust) -> Blindgate:
    return Blindgate(URL, trust=trusted, http=httpx.Client(transport=httpx.MockTransport(gateway)))


def refused(gateway: Gateway, trusted: Trust) -> VerificationFailed:
    """The error of a detection that must not happen; asserts that nothing was sent."""
    with pytest.raises(VerificationFailed) as failed:
        client(gateway, trusted).detect(b"photo")
    assert SEALED not in gateway.paths()
    return failed.value


def test_keys_then_document_then_photo(gateway: Gateway, root: DevRoot) -> None:
    client(gateway, trust(root)).detect(b"photo")
    assert gateway.paths() == [KEYS, ATTESTATION, SEALED]


def test_the_nonce_is_fresh_each_time(gateway: Gateway, root: DevRoot) -> None:
    sdk = client(gateway, trust(root))
    sdk.verify()
    sdk.verify()
    nonces = {one.url.params["nonce"] for one in gateway.seen if one.url.path == "/v1/attestation"}
    assert len(nonces) == 2
    assert all(len(nonce) == 43 for nonce in nonces)


def test_verify_says_what_was_verified(gateway: Gateway, enclave: Enclave, root: DevRoot) -> None:
    sdk = client(gateway, trust(root))
    verified = sdk.verify()
    assert sdk.enclave is verified
    assert verified.attestation.pcrs[0] == PCRS[0]
    assert verified.user_data.keys == enclave.keyring.digest()


def test_another_root_is_refused(gateway: Gateway) -> None:
    failed = refused(gateway, trust(DevRoot.generate()))
    assert isinstance(failed.__cause__, UntrustedChain)


def test_a_development_root_is_not_trusted_by_default(gateway: Gateway) -> None:
    failed = refused(gateway, Trust(AWS_NITRO_ROOT, (PcrSet("test", PCRS),)))
    assert isinstance(failed.__cause__, UntrustedChain)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_another_measurement_is_refused(gateway: Gateway, root: DevRoot, index: int) -> None:
    failed = refused(gateway, trust(root, {**PCRS, index: bytes([1]) * 48}))
    assert isinstance(failed.__cause__, PcrMismatch)


def test_one_of_several_measurements_is_enough(gateway: Gateway, root: DevRoot) -> None:
    other = PcrSet("blue", {index: bytes([9]) * 48 for index in range(3)})
    both = Trust(root.root, (other, PcrSet("green", PCRS)))
    verified = client(gateway, both).verify()
    assert verified.attestation.pcr_set is not None
    assert verified.attestation.pcr_set.name == "green"


def test_debug_mode_is_refused(root: DevRoot) -> None:
    failed = refused(Gateway(Enclave(root, debug_mode=True)), trust(root))
    assert isinstance(failed.__cause__, DebugMode)


def test_a_document_for_another_nonce_is_refused(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    document = gateway.document(enclave.attest(b"n" * 32))
    gateway.replace[ATTESTATION] = lambda _: document
    assert isinstance(refused(gateway, trust(root)).__cause__, AttestationError)


def test_a_document_without_a_nonce_is_refused(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    gateway.replace[ATTESTATION] = lambda _: gateway.document(enclave.attest(None))
    assert isinstance(refused(gateway, trust(root)).__cause__, AttestationError)


@pytest.mark.parametrize(
    "user_data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(
            bytes.fromhex("a167707572706f736570626c696e64676174652f6b6d732f7631"), id="kms"
        ),
        pytest.param(UserData(bytes(32), bytes(32), bytes(32)).encode() + b"\0", id="trailing"),
    ],
)
def test_a_document_for_another_purpose_is_refused(
    gateway: Gateway, enclave: Enclave, root: DevRoot, monkeypatch: MonkeyPatch, user_data: bytes
) -> None:
    monkeypatch.setattr(enclave, "user_data", lambda: user_data)
    assert isinstance(refused(gateway, trust(root)).__cause__, InvalidUserData)


def test_keys_that_the_document_does_not_bind_are_refused(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    """The gateway puts its own key under the enclave's key id."""
    own = keys.KeyPair.from_seed(enclave.keyring.key_ids()[0], Kem.X25519, bytes(32))
    gateway.replace[KEYS] = lambda _: httpx.Response(
        200,
        headers={"content-type": routes.OHTTP_KEYS_TYPE},
        content=keys.encode_list([own.config]),
    )
    assert "does not bind" in str(refused(gateway, trust(root)))
    assert gateway.paths().count(KEYS) == 2  # It may have been a rotation: asked once more.


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(lambda: httpx.Response(200, content=b"x"), id="no type"),
        pytest.param(lambda: httpx.Response(200, html="<p>Welcome</p>"), id="captive portal"),
        pytest.param(lambda: httpx.Response(302, headers={"location": "/x"}), id="redirect"),
        pytest.param(
            lambda: httpx.Response(200, headers={"content-type": routes.OHTTP_KEYS_TYPE}),
            id="empty",
        ),
    ],
)
@pytest.mark.parametrize("where", [KEYS, ATTESTATION])
def test_nonsense_is_refused(
    gateway: Gateway, root: DevRoot, where: str, response: Callable[[], httpx.Response]
) -> None:
    gateway.replace[where] = lambda _: response()
    refused(gateway, trust(root))


def test_a_gateway_without_an_enclave_says_so(root: DevRoot) -> None:
    gateway = Gateway()
    with pytest.raises(ProblemError) as failed:
        client(gateway, trust(root)).detect(b"photo")
    assert failed.value.slug == "enclave-unavailable"
    assert failed.value.status == 503
    assert failed.value.retry_after == 7
    assert not failed.value.sealed


def test_a_key_that_rotates_between_keys_and_document_is_fetched_again(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    honest = gateway.keys

    def rotate_after(request: httpx.Request) -> httpx.Response:
        response = honest(request)
        if len(gateway.seen) == 1:
            enclave.now += 25 * 3600
        return response

    gateway.replace[KEYS] = rotate_after
    client(gateway, trust(root)).detect(b"photo")
    assert gateway.paths() == [KEYS, ATTESTATION, KEYS, ATTESTATION, SEALED]


def test_a_document_for_a_key_that_is_gone_is_asked_for_again(
    gateway: Gateway, root: DevRoot
) -> None:
    honest = gateway.attestation

    def gone(request: httpx.Request) -> httpx.Response:
        return problem(problems.OHTTP_KEY) if len(gateway.seen) == 2 else honest(request)

    gateway.replace[ATTESTATION] = gone
    client(gateway, trust(root)).detect(b"photo")
    assert gateway.paths().count(ATTESTATION) == 2


def test_an_enclave_is_verified_anew_after_an_hour(gateway: Gateway, root: DevRoot) -> None:
    clock = [0.0]
    session = Session(trust(root), monotonic=lambda: clock[0])
    sdk = client(gateway, trust(root))
    sdk._transport.session = session
    sdk.detect(b"photo")
    clock[0] += VERIFY_AGAIN_S - 1
    sdk.detect(b"photo")
    assert gateway.paths().count(ATTESTATION) == 1
    clock[0] += 1
    sdk.detect(b"photo")
    assert gateway.paths().count(ATTESTATION) == 2


def test_after_a_failed_verification_nothing_is_trusted(
    gateway: Gateway, enclave: Enclave, root: DevRoot
) -> None:
    sdk = client(gateway, trust(root))
    sdk.verify()
    gateway.replace[ATTESTATION] = lambda _: gateway.document(enclave.attest(None))
    with pytest.raises(VerificationFailed):
        sdk.verify()
    assert sdk.enclave is None
    with pytest.raises(VerificationFailed):
        sdk.detect(b"photo")
    assert SEALED not in gateway.paths()
