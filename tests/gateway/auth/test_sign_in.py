"""Sign-in, scopes, rate limits and CORS through a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blindgate import problems
from blindgate.link import Operation
from gateway import app
from gateway.auth.caller import Scope
from gateway.auth.key_file import change_keys
from gateway.auth.keys import KeyStore
from tests.gateway.auth.provider import AUDIENCE, ISSUER, Provider
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import PCRS, running
from tests.gateway.test_detections import is_problem

pytestmark = pytest.mark.anyio
URL = "/v1/detections"
ATTESTATION = "/v1/attestation?nonce=bm9uY2UgZm9yIHRoZSBleGFtcGxl"
SEALED = "/.well-known/ohttp-gateway"


class KeyRing:
    """A key file and what was put into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, *scopes: Scope, lifetime: timedelta | None = None) -> str:
        made: list[str] = []

        def add(store: KeyStore) -> KeyStore:
            store, _, key = store.with_new(
                "test", scopes, now=datetime.now(UTC) - timedelta(hours=1), lifetime=lifetime
            )
            made.append(key)
            return store

        change_keys(self.path, add)
        return made[0]

    def revoke(self, key: str) -> None:
        change_keys(self.path, lambda store: store.without(key.split("_")[1], datetime.now(UTC)))


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider()

    def client(**_: Any) -> Any:
        return provider.client()

    monkeypatch.setattr(app, "make_http", client)
    return provider


def bearer(credential: str) -> dict[str, str]:
    return {**OCTETS, "authorization": f"Bearer {credential}"}


async def test_a_key_passes_as_bearer_and_in_a_header_of_its_own(
    ring: KeyRing, worker_path: Path
) -> None:
    key = ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        for headers in (bearer(key), {**OCTETS, "x-api-key": key}, {**bearer(key), "a": "b"}):
            answer = await served.http.post(URL, content=b"x", headers=headers)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "method_and_path",
    [("POST", URL), ("POST", SEALED), ("GET", SEALED), ("GET", ATTESTATION), ("GET", "/v1/models")],
)
async def test_without_credentials_nothing_but_health_answers(
    ring: KeyRing, worker_path: Path, method_and_path: tuple[str, str]
) -> None:
    ring.make(Scope.ADMIN)
    method, path = method_and_path
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        content = b"x" * 100_000 if method == "POST" else None
        answer = await served.http.request(method, path, content=content, headers=OCTETS)
        is_problem(answer, problems.UNAUTHORIZED)
        assert answer.headers["www-authenticate"] == 'Bearer realm="blindgate"'
        assert (await served.http.get("/livez")).status_code == 200
        assert (await served.http.get("/readyz")).status_code == 200
        assert worker.of(Operation.DETECT) == worker.of(Operation.OHTTP) == []


async def test_wrong_credentials_are_refused_all_alike(ring: KeyRing, worker_path: Path) -> None:
    key = ring.make(Scope.DETECT)
    expired = ring.make(Scope.DETECT, lifetime=timedelta(minutes=30))
    revoked = ring.make(Scope.DETECT)
    ring.revoke(revoked)
    seen = set()
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        for wrong in (expired, revoked, key[:-1], key + "x", "bgk_", "a.b.c", "nonsense", "é"):
            headers = [(k.encode(), v.encode()) for k, v in bearer(wrong).items()]
            answer = await served.http.post(URL, content=b"x", headers=headers)
            body = is_problem(answer, problems.UNAUTHORIZED)
            seen.add((body["detail"], answer.headers["www-authenticate"]))
            assert wrong not in answer.text or wrong == "bgk_"
    assert seen == {
        (problems.UNAUTHORIZED.advice, 'Bearer realm="blindgate", error="invalid_token"')
    }


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Basic dXNlcjpwdw=="}, {"authorization": ""}, {"authorization": "Bearer"},
     {"x-api-key": ""}],
)  # fmt: skip
async def test_what_is_no_credential_is_asked_for_one(
    ring: KeyRing, worker_path: Path, headers: dict[str, str]
) -> None:
    ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        answer = await served.http.post(URL, content=b"x", headers={**OCTETS, **headers})
        is_problem(answer, problems.UNAUTHORIZED)
        assert "error" not in answer.headers["www-authenticate"]


async def test_two_credentials_at_once_are_refused(ring: KeyRing, worker_path: Path) -> None:
    key = ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        both = {**bearer(key), "x-api-key": key}
        answer = await served.http.post(URL, content=b"x", headers=both)
        is_problem(answer, problems.UNAUTHORIZED)
        assert 'error="invalid_request"' in answer.headers["www-authenticate"]


async def test_a_scope_that_is_missing_is_named(ring: KeyRing, worker_path: Path) -> None:
    attest, detect = ring.make(Scope.ATTEST), ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        answer = await served.http.post(URL, content=b"x", headers=bearer(attest))
        assert is_problem(answer, problems.FORBIDDEN)["scope"] == "detect"
        assert 'error="insufficient_scope", scope="detect"' in answer.headers["www-authenticate"]
        for path in (ATTESTATION, SEALED, "/v1/models"):
            answer = await served.http.get(path, headers=bearer(detect))
            assert is_problem(answer, problems.FORBIDDEN)["scope"] == "attest"
            assert (await served.http.get(path, headers=bearer(attest))).status_code == 200


async def test_a_key_is_revoked_while_the_gateway_runs(ring: KeyRing, worker_path: Path) -> None:
    key = ring.make(Scope.ATTEST)
    async with running(worker_path) as worker, serve_gateway(worker, api_keys=ring.path) as served:
        assert (await served.http.get("/v1/models", headers=bearer(key))).status_code == 200
        ring.revoke(key)
        is_problem(await served.http.get("/v1/models", headers=bearer(key)), problems.UNAUTHORIZED)
        new = ring.make(Scope.ATTEST)
        assert (await served.http.get("/v1/models", headers=bearer(new))).status_code == 200


async def test_tokens_and_keys_go_side_by_side(
    ring: KeyRing, provider: Provider, worker_path: Path
) -> None:
    key = ring.make(Scope.ATTEST)
    async with running(worker_path) as worker, serve_gateway(
        worker, api_keys=ring.path, oidc_issuer=ISSUER, oidc_audience=AUDIENCE
    ) as served:  # fmt: skip
        for credential in (key, provider.token()):
            answer = await served.http.get("/v1/models", headers=bearer(credential))
            assert answer.status_code == 200
        answer = await served.http.get("/v1/models", headers=bearer(provider.token(exp=1)))
        assert is_problem(answer, problems.UNAUTHORIZED)["detail"].startswith(
            "The token has expired. "
        )
        answer = await served.http.get("/v1/models", headers=bearer(provider.token(scope="x")))
        is_problem(answer, problems.FORBIDDEN)


async def test_a_provider_that_is_away_is_not_the_callers_fault(
    provider: Provider, worker_path: Path
) -> None:
    provider.down = True
    async with running(worker_path) as worker, serve_gateway(
        worker, oidc_issuer=ISSUER, oidc_audience=AUDIENCE
    ) as served:  # fmt: skip
        answer = await served.http.get("/v1/models", headers=bearer(provider.token()))
        is_problem(answer, problems.SIGN_IN_UNAVAILABLE)
        assert answer.headers["retry-after"] == "1"


async def test_each_caller_has_a_rate_of_its_own(ring: KeyRing, worker_path: Path) -> None:
    one, other = ring.make(Scope.DETECT, Scope.ATTEST), ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(
        worker, api_keys=ring.path, rate_limit="2/hour"
    ) as served:  # fmt: skip
        for left in (1, 0):
            answer = await served.http.post(URL, content=b"x", headers=bearer(one))
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"caller";q=2;w=3600'
            assert answer.headers["ratelimit"].startswith(f'"caller";r={left};t=')
        answer = await served.http.post(URL, content=b"x" * 300_000, headers=bearer(one))
        is_problem(answer, problems.RATE_LIMITED)
        assert answer.headers["ratelimit"].startswith('"caller";r=0;t=')
        assert 0 < int(answer.headers["retry-after"]) <= 3600
        answer = await served.http.post(URL, content=b"x", headers=bearer(other))
        assert answer.status_code == 200
        assert (await served.http.get("/v1/models", headers=bearer(one))).status_code == 200


async def test_without_sign_in_nobody_is_administrator(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        assert (await served.http.get("/v1/models")).status_code == 200
        is_problem(await served.http.get("/v1/enclaves"), problems.FORBIDDEN)


async def test_without_sign_in_the_address_is_the_caller(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(
        worker, rate_limit="1/hour"
    ) as served:  # fmt: skip
        assert (await served.http.post(URL, content=b"x", headers=OCTETS)).status_code == 200
        answer = await served.http.post(URL, content=b"x", headers=OCTETS)
        is_problem(answer, problems.RATE_LIMITED)


async def test_only_pages_of_listed_origins_may_call(ring: KeyRing, worker_path: Path) -> None:
    key = ring.make(Scope.DETECT)
    async with running(worker_path) as worker, serve_gateway(
        worker, api_keys=ring.path, cors_origins="https://app.example"
    ) as served:  # fmt: skip
        asking = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        mine, other = {"origin": "https://app.example"}, {"origin": "https://evil.example"}
        answer = await served.http.options(URL, headers={**asking, **mine})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
        answer = await served.http.options(URL, headers={**asking, **other})
        assert "access-control-allow-origin" not in answer.headers
        answer = await served.http.post(URL, content=b"x", headers={**bearer(key), **mine})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
        refused = await served.http.post(URL, content=b"x", headers={**OCTETS, **mine})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        answer = await served.http.post(URL, content=b"x", headers={**bearer(key), **other})
        assert "access-control-allow-origin" not in answer.headers


async def test_only_administrators_see_where_the_enclaves_are(
    ring: KeyRing, worker_path: Path
) -> None:
    admin, other = ring.make(Scope.ADMIN), ring.make(Scope.DETECT, Scope.ATTEST)
    late = {"kms_clock": "behind"}
    async with (
        running(worker_path, status=late) as worker,
        serve_gateway(worker, api_keys=ring.path) as served,
    ):
        answer = await served.http.get("/v1/enclaves", headers=bearer(other))
        assert is_problem(answer, problems.FORBIDDEN)["scope"] == "admin"
        answer = await served.http.get("/v1/enclaves", headers=bearer(admin))
        assert answer.json() == {
            "enclaves": [
                {
                    "address": str(worker.address),
                    "state": "ready",
                    "outstanding": 0,
                    "pcr_set": "release",
                    "pcr0": PCRS[0].hex(),
                    "key_ids": [7],
                    "model": {"name": "fake", "version": "1"},
                    "answers": "open",
                    "kms_clock": "behind",
                }
            ]
        }
        await worker.stop()
        await served.until(lambda: not served.pool.keepers())
        (lost,) = (await served.http.get("/v1/enclaves", headers=bearer(admin))).json()["enclaves"]
        assert (lost["pcr0"], lost["model"]) == (None, None)
        assert lost["state"] != "ready"
