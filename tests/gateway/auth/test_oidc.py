"""Tokens of an identity provider: which pass, and what stops the others."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.caller import Scope
from gateway.auth.jwks import COOLDOWN_SECONDS, FRESH_SECONDS, STALE_SECONDS, Jwks, KeysUnavailable
from gateway.auth.oidc import Oidc, TokenRejected
from tests.gateway.auth.provider import AUDIENCE, ISSUER, Provider

pytestmark = pytest.mark.anyio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def oidc(provider: Provider, clock: Clock) -> AsyncIterator[Oidc]:
    async with provider.client() as http:
        yield make(Jwks(ISSUER, None, http, clock=clock))


def make(jwks: Jwks) -> Oidc:
    return Oidc(jwks, issuer=ISSUER, audience=AUDIENCE, scope_claim="scope", leeway=30)


def b64(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


async def test_a_good_token_names_its_subject_and_its_scopes(
    oidc: Oidc, provider: Provider
) -> None:
    caller = await oidc.check(provider.token())
    assert (caller.kind, caller.id) == ("oidc", "alice")
    assert caller.scopes == {Scope.DETECT, Scope.ATTEST}


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("", set()),
        ("admin", {Scope.ADMIN}),
        (["detect", "other", 7], {Scope.DETECT}),
        ({"detect": True}, set()),
        (None, set()),
        ("DETECT detective", set()),
    ],
)
async def test_only_scopes_that_we_know_count(
    oidc: Oidc, provider: Provider, claim: Any, scopes: set[Scope]
) -> None:
    assert (await oidc.check(provider.token(scope=claim))).scopes == scopes


async def test_one_of_several_audiences_is_enough(oidc: Oidc, provider: Provider) -> None:
    assert (await oidc.check(provider.token(aud=["other", AUDIENCE]))).id == "alice"


async def test_clocks_may_differ_by_the_leeway(oidc: Oidc, provider: Provider) -> None:
    now = int(time.time())
    token = provider.token(exp=now - 10, nbf=now + 10, iat=now + 10)
    assert (await oidc.check(token)).id == "alice"


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "lacks a claim"),
        ({"exp": "soon"}, "not valid"),
        ({"nbf": 2**33}, "not valid yet"),
        ({"iat": 2**33}, "not valid yet"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "lacks a claim"),
        ({"aud": []}, "lacks a claim"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
        ({"sub": "a\nb"}, "subject"),
        ({"sub": "a" * 256}, "subject"),
    ],
)
async def test_wrong_claims_are_refused(
    oidc: Oidc, provider: Provider, claims: dict[str, Any], rule: str
) -> None:
    with pytest.raises(TokenRejected, match=rule):
        await oidc.check(provider.token(**claims))


async def test_alg_none_is_refused_before_any_key_is_fetched(
    oidc: Oidc, provider: Provider
) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 2**33, "scope": "admin"}
    for alg in ("none", "None", "nOnE", ""):
        token = f"{b64({'alg': alg, 'kid': 'first'})}.{b64(claims)}."
        with pytest.raises(TokenRejected, match="algorithm"):
            await oidc.check(token)
    assert provider.asked == []


async def test_the_public_key_is_no_shared_secret(oidc: Oidc, provider: Provider) -> None:
    """The classic confusion: HS256 with the published key as the secret."""
    secret = json.dumps(provider.jwk("first")).encode()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 2**33}
    signed = f"{b64({'alg': 'HS256', 'kid': 'first'})}.{b64(claims)}"
    mac = hmac.digest(secret, signed.encode(), "sha256")
    token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(TokenRejected, match="algorithm"):
        await oidc.check(token)


async def test_the_algorithm_is_the_keys_and_not_the_tokens(oidc: Oidc, provider: Provider) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 2**33}
    key = rsa.generate_private_key(65537, 2048)
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "first"})
    with pytest.raises(TokenRejected, match="algorithm"):
        await oidc.check(token)


async def test_another_signature_is_refused(oidc: Oidc, provider: Provider) -> None:
    forger = Provider()
    with pytest.raises(TokenRejected, match="signature"):
        await oidc.check(forger.token("first"))


async def test_a_changed_token_is_refused(oidc: Oidc, provider: Provider) -> None:
    head, body, signature = provider.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    with pytest.raises(TokenRejected, match="signature"):
        await oidc.check(f"{head}.{b64({**claims, 'scope': 'admin'})}.{signature}")


async def test_a_truncated_token_is_refused(oidc: Oidc, provider: Provider) -> None:
    token = provider.token()
    for length in (0, 1, 10, len(token) // 2, len(token) - 20):
        with pytest.raises(TokenRejected):
            await oidc.check(token[:length])


@settings(max_examples=100, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(
            lambda parts: ".".join(base64.urlsafe_b64encode(p).decode() for p in parts)
        ),
        st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64"]),
            st.one_of(st.text(max_size=8), st.integers(), st.none(), st.lists(st.text())),
        ).map(lambda header: f"{b64(header)}.e30.AAAA"),
    )
)
async def test_whatever_is_no_token_is_refused(text: str) -> None:
    provider = Provider()
    async with provider.client() as http:
        with pytest.raises(TokenRejected):
            await make(Jwks(ISSUER, None, http)).check(text)


async def test_a_token_that_is_too_long_is_refused(oidc: Oidc, provider: Provider) -> None:
    with pytest.raises(TokenRejected, match="too long"):
        await oidc.check(provider.token(groups=["g" * 100] * 100))


async def test_a_token_without_a_key_id_is_refused(oidc: Oidc, provider: Provider) -> None:
    token = jwt.encode({}, provider.keys["first"], algorithm="ES256")
    with pytest.raises(TokenRejected, match="names no key"):
        await oidc.check(token)


async def test_keys_are_fetched_once_and_again_when_they_rotate(
    oidc: Oidc, provider: Provider, clock: Clock
) -> None:
    for _ in range(3):
        await oidc.check(provider.token())
    assert len(provider.asked) == 2
    old = provider.token()
    provider.rotate("second")
    clock.now += COOLDOWN_SECONDS
    assert (await oidc.check(provider.token("second"))).id == "alice"
    assert len(provider.asked) == 4
    with pytest.raises(TokenRejected, match="not the issuer's"):
        await oidc.check(old)


async def test_a_flood_of_unknown_key_ids_does_not_flood_the_provider(
    oidc: Oidc, provider: Provider
) -> None:
    for number in range(50):
        with pytest.raises(TokenRejected, match="not the issuer's"):
            await oidc.check(provider.token(f"unknown-{number}"))
    assert len(provider.asked) == 2


async def test_keys_outlive_the_provider_for_a_while(
    oidc: Oidc, provider: Provider, clock: Clock
) -> None:
    await oidc.check(provider.token())
    provider.down = True
    clock.now += FRESH_SECONDS + 1
    assert (await oidc.check(provider.token())).id == "alice"
    clock.now += STALE_SECONDS
    with pytest.raises(KeysUnavailable):
        await oidc.check(provider.token())
    provider.down = False
    clock.now += COOLDOWN_SECONDS
    assert (await oidc.check(provider.token())).id == "alice"


@pytest.mark.parametrize(
    "discovery",
    [
        {},
        {"issuer": "https://evil.example", "jwks_uri": "https://id.example/keys"},
        {"issuer": ISSUER, "jwks_uri": "http://id.example/keys"},
        {"issuer": ISSUER, "jwks_uri": 7},
    ],
)
async def test_discovery_must_be_the_issuers_own_and_safe(
    oidc: Oidc, provider: Provider, discovery: dict[str, Any]
) -> None:
    provider.discovery = discovery
    with pytest.raises(KeysUnavailable):
        await oidc.check(provider.token())


async def test_keys_that_are_not_for_signing_are_passed_over(
    oidc: Oidc, provider: Provider
) -> None:
    shared = base64.urlsafe_b64encode(bytes(32)).decode()
    private = ec.generate_private_key(ec.SECP256R1())
    leaked = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private))
    provider.extra = [
        {**provider.jwk("first"), "kid": "sealing", "use": "enc"},
        {"kty": "oct", "k": shared, "kid": "shared"},
        {**leaked, "kid": "leaked"},
        {"kty": "moon", "kid": "new"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"},
        "nonsense",  # type: ignore[list-item]
        {**provider.jwk("first"), "kid": 7},
    ]
    assert (await oidc.check(provider.token())).id == "alice"
    for key_id in ("sealing", "shared", "new", "broken", "leaked"):
        with pytest.raises(TokenRejected, match="not the issuer's"):
            await oidc.check(provider.token(key_id))
