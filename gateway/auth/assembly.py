"""Sign-in as the settings want it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.auth.jwks import Jwks
from gateway.auth.key_file import KeyFile
from gateway.auth.key_secret import KeySecret, secrets_client
from gateway.auth.oidc import Oidc
from gateway.auth.rates import RateLimits
from gateway.auth.shared_counters import SharedCounters
from gateway.auth.signin import KeySource, SignIn
from gateway.background import kept_running

if TYPE_CHECKING:
    import httpx

    from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Auth:
    """Everything that decides whether a request passes.

    Attributes:
        sign_in: Who calls.
        rates: How often each caller may; None without a limit.
        jwks: The provider's keys; None without a provider.
        http: What they are fetched with.
        renewing: Keys that must be looked at again.
    """

    sign_in: SignIn
    rates: RateLimits | None
    jwks: Jwks | None
    http: httpx.AsyncClient | None
    renewing: Sequence[KeySecret] = ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep what must be renewed up to date within this block."""
        tasks = [asyncio.create_task(kept_running("API keys", keys.run)) for keys in self.renewing]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.jwks is not None:
                await self.jwks.close()
            if self.http is not None:
                await self.http.aclose()
            if self.rates is not None:
                await self.rates.close()


def make_auth(settings: Settings) -> Auth:
    """Build sign-in.

    Raises:
        InvalidKeyStore: The keys cannot be read as keys.
        SecretUnavailable: The secret cannot be read.
        CountersUnavailable: The counts of requests cannot be shared.
        OSError: The key file cannot be read.
    """
    keys: list[KeySource] = []
    renewing: list[KeySecret] = []
    if settings.api_keys is not None:
        keys.append(KeyFile(settings.api_keys))
    if settings.api_keys_secret:
        secret = KeySecret(settings.api_keys_secret, secrets_client(), settings.api_keys_period)
        keys.append(secret)
        renewing.append(secret)
    http = jwks = oidc = None
    if settings.oidc_issuer:
        http = make_http()
        jwks = Jwks(settings.oidc_issuer, settings.oidc_jwks_uri, http)
        oidc = Oidc(
            jwks,
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience or "",
            scope_claim=settings.oidc_scope_claim,
            leeway=settings.oidc_leeway,
        )
    rates = None
    if settings.rate_limit:
        url = settings.rate_limit_storage
        shared = SharedCounters(url.get_secret_value()) if url else None
        rates = RateLimits(settings.rate_limit, shared)
    return Auth(SignIn(keys, oidc), rates, jwks, http, renewing)


def make_http() -> httpx.AsyncClient:
    """What speaks to the identity provider; no redirects, for they could leave TLS."""
    import httpx

    return httpx.AsyncClient(follow_redirects=False)
