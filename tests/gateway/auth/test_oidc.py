"""Tokens of an identity provider: which pass, and what stops the others."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth import jwks as jwks_module
from gateway.auth.caller import Scope
from gateway.auth.jwks import (
    COOLDOWN_SECONDS,
    FRESH_SECONDS,
    MAX_BYTES,
    MAX_KEYS,
    STALE_SECONDS,
    Jwks,
    KeysUnavailable,
    is_safe_url,
)
from gateway.auth.oidc import MAX_SUBJECT, MAX_TOKEN, Oidc, TokenRejected
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
    ("claim", "within", "beyond", "rule"),
    [
        ("exp", -25, -31, "expired"),
        ("nbf", 25, 40, "not valid yet"),
        ("iat", 25, 40, "not valid yet"),
    ],
)
async def test_clocks_may_not_differ_by_more(
    oidc: Oidc, provider: Provider, claim: str, within: int, beyond: int, rule: str
) -> None:
    now = int(time.time())
    claims: dict[str, Any] = {claim: now + within}
    await oidc.check(provider.token(**claims))
    claims = {claim: now + beyond}
    with pytest.raises(TokenRejected, match=rule):
        await oidc.check(provider.token(**claims))


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


async def test_a_token_has_at_most_8_kib(oidc: Oidc, provider: Provider) -> None:
    assert (MAX_TOKEN, MAX_SUBJECT) == (8192, 255)
    base = len(provider.token(groups=""))
    lengths = {}
    for size in range((8192 - base) * 3 // 4 - 8, (8192 - base) * 3 // 4 + 8):
        token = provider.token(groups="g" * size)
        lengths[len(token)] = token
    longest = max(length for length in lengths if length <= 8192)
    shortest = min(length for length in lengths if length > 8192)
    assert shortest - longest <= 2
    assert (await oidc.check(lengths[longest])).id == "alice"
    with pytest.raises(TokenRejected, match="too long"):
        await oidc.check(lengths[shortest])
    with pytest.raises(TokenRejected, match="not a JWT"):
        await oidc.check("x" * 8192)
    with pytest.raises(TokenRejected, match="too long"):
        await oidc.check("x" * 8193)


async def test_a_subject_of_255_characters_is_taken(oidc: Oidc, provider: Provider) -> None:
    assert (await oidc.check(provider.token(sub="a" * 255))).id == "a" * 255


@pytest.mark.parametrize(("bits", "passes"), [(1024, False), (2048, True)])
async def test_a_key_that_is_too_short_is_refused(
    oidc: Oidc, provider: Provider, bits: int, passes: bool
) -> None:
    key = rsa.generate_private_key(65537, bits)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    provider.extra = [{**jwk, "kid": "rsa", "use": "sig", "alg": "RS256"}]
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 2**33}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "rsa"})
    if passes:
        assert (await oidc.check(token)).id == "alice"
    else:
        with pytest.raises(TokenRejected):
            await oidc.check(token)


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


class Slow:
    """A provider that answers when it is let to."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.go = asyncio.Event()
        self.go.set()
        self.asked = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.go.wait()
        return self.provider(request)


@pytest.fixture
async def slow(provider: Provider, clock: Clock) -> AsyncIterator[tuple[Slow, Oidc, Jwks]]:
    slow = Slow(provider)
    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http:
        jwks = Jwks(ISSUER, "https://id.example/keys", http, clock=clock)
        yield slow, make(jwks), jwks
        await jwks.close()


async def soon(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_provider_that_is_slow_holds_up_nobody_with_a_known_key(
    slow: tuple[Slow, Oidc, Jwks], provider: Provider, clock: Clock
) -> None:
    place, oidc, _ = slow
    await oidc.check(provider.token())
    place.go.clear()
    clock.now += FRESH_SECONDS + 1
    for _ in range(3):
        # The provider does not answer before the end of the test: none of these waits for it.
        await asyncio.wait_for(oidc.check(provider.token()), 10)
        await asyncio.sleep(0.01)
    assert place.asked == 2, "one renewal at a time"
    old = provider.token()
    provider.rotate("second")
    waiting = [asyncio.create_task(oidc.check(provider.token("second"))) for _ in range(3)]
    await asyncio.wait_for(oidc.check(old), 10)
    place.go.set()
    assert [(await each).id for each in waiting] == ["alice"] * 3
    assert place.asked == 2
    with pytest.raises(TokenRejected, match="not the issuer's"):
        await oidc.check(old)


async def test_keys_are_renewed_beside_the_requests_that_use_them(
    slow: tuple[Slow, Oidc, Jwks], provider: Provider, clock: Clock
) -> None:
    place, oidc, _ = slow
    await oidc.check(provider.token())
    clock.now += FRESH_SECONDS
    await oidc.check(provider.token())
    assert place.asked == 1
    clock.now += 1
    await oidc.check(provider.token())
    await soon(lambda: place.asked == 2)
    clock.now += STALE_SECONDS - 1
    await asyncio.sleep(0.01)
    await oidc.check(provider.token())


async def test_a_client_that_leaves_does_not_end_the_renewal_of_others(
    slow: tuple[Slow, Oidc, Jwks], provider: Provider
) -> None:
    place, oidc, _ = slow
    place.go.clear()
    one, other = (asyncio.create_task(oidc.check(provider.token())) for _ in range(2))
    await soon(lambda: place.asked == 1)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    place.go.set()
    assert (await other).id == "alice"


async def test_a_provider_that_never_ends_its_answer_is_given_up(
    slow: tuple[Slow, Oidc, Jwks],
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, oidc, _ = slow
    assert vars(jwks_module)["_RENEWAL_TIMEOUT"] == 15
    monkeypatch.setattr(jwks_module, "_RENEWAL_TIMEOUT", 0.05)
    place.go.clear()
    with pytest.raises(KeysUnavailable):
        await asyncio.wait_for(oidc.check(provider.token()), 10)
    assert "no keys from the identity provider" in caplog.text


async def test_what_fails_unexpectedly_is_logged_and_does_not_end_sign_in(
    slow: tuple[Slow, Oidc, Jwks],
    provider: Provider,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, oidc, _ = slow
    with monkeypatch.context() as broken:
        broken.setattr(jwks_module, "_signing_keys", lambda _: 1 / 0)
        with pytest.raises(KeysUnavailable):
            await oidc.check(provider.token())
    assert "ZeroDivisionError" in caplog.text
    clock.now += COOLDOWN_SECONDS
    assert (await oidc.check(provider.token())).id == "alice"


@pytest.mark.parametrize(
    ("content", "passes"),
    [
        (b"[]", False),
        (b"7", False),
        (b'"keys"', False),
        (b"{}", False),
        (b'{"keys": {}}', False),
        (b"[" * 100_000, False),
        (b"\xff", False),
        (b'{"keys": [%s]}' % b",".join([b"{}"] * 63), True),
        (b'{"keys": [%s]}' % b",".join([b"{}"] * 64), False),
        (b'{"keys": []%s}' % (b" " * (256 * 1024 - 200)), True),
        (b'{"keys": []%s}' % (b" " * (256 * 1024 + 1)), False),
    ],
)
async def test_only_a_key_set_of_bounded_size_is_taken(
    provider: Provider, clock: Clock, content: bytes, passes: bool
) -> None:
    """With `passes`, one key more is added to a set that has 64 then, or nearly 256 KiB."""
    assert (MAX_KEYS, MAX_BYTES) == (64, 256 * 1024)

    def respond(request: httpx.Request) -> httpx.Response:
        key = json.dumps(provider.jwk("first")).encode()
        if b"]" not in content or not content.startswith(b'{"keys": ['):
            return httpx.Response(200, content=content)
        comma = b"," if b"[{}" in content else b""
        at = content.index(b"]")
        return httpx.Response(200, content=content[:at] + comma + key + content[at:])

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        oidc = make(Jwks(ISSUER, "https://id.example/keys", http, clock=clock))
        if passes:
            assert (await oidc.check(provider.token())).id == "alice"
        else:
            with pytest.raises(KeysUnavailable):
                await oidc.check(provider.token())


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://id.example/keys", True),
        ("https://127.0.0.1/keys", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1/", True),
        ("http://[::1]:80/", True),
        ("http://id.example/", False),
        ("http://localhost.evil.example/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http://[", False),
        ("https://", False),
        ("https:///keys", False),
        ("https://id.example:port/", False),
        ("https://id.example\n/", False),
        ("ftp://localhost/", False),
        ("file:///etc/passwd", False),
        ("id.example", False),
        ("", False),
    ],
)
def test_only_urls_that_nobody_can_change_on_the_way_are_safe(url: str, safe: bool) -> None:
    assert is_safe_url(url) is safe


def test_the_times_are_those_of_the_documentation() -> None:
    assert (FRESH_SECONDS, STALE_SECONDS, COOLDOWN_SECONDS) == (600, 3600, 10)


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
