"""An identity provider's signing keys: found by discovery, cached, renewed when they rotate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

#: Signatures by private keys of real strength; no `none`, nothing with a shared secret.
ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
                               "ES256", "ES384", "ES512", "EdDSA"})  # fmt: skip
#: Providers publish new keys a day or more before they use them.
FRESH_SECONDS: Final = 600.0
#: How long the last keys count while the provider does not answer.
STALE_SECONDS: Final = 3600.0
#: A token with an unknown key id makes us look, but a flood of them does not flood the provider.
COOLDOWN_SECONDS: Final = 10.0
#: Providers have two to ten keys of 1 to 2 KB.
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
_TIMEOUT: Final = 5.0
#: Seconds for all of a renewal, however slowly the provider sends.
_RENEWAL_TIMEOUT: Final = 15.0


class KeysUnavailable(BlindgateError):
    """The identity provider's keys cannot be had."""


class Jwks:
    """The keys of one issuer.

    Args:
        issuer: The issuer's URL; discovery starts there (OpenID Connect Discovery 1.0 §4).
        uri: Where the keys are; asked of the issuer if left out.
        http: What to fetch with.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        issuer: str,
        uri: str | None,
        http: httpx.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._uri = uri
        self._http = http
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PyJWK | None:
        """The signing key of this id, or None if the issuer has none.

        A known key is given immediately as long as it counts; past `FRESH_SECONDS` keys are
        renewed meanwhile (stale-while-revalidate, RFC 5861 §3). Only who brings an unknown key id,
        or comes when all keys are too old, waits for the provider.

        Raises:
            KeysUnavailable: No keys, or only old ones, are at hand and none can be fetched.
        """
        if key_id in self._keys and self._age() <= STALE_SECONDS:
            if self._age() > FRESH_SECONDS:
                self._renew()
        elif (renewal := self._renew()) is not None:
            await asyncio.shield(renewal)
        if self._age() > STALE_SECONDS:
            raise KeysUnavailable("the identity provider's keys are not available")
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _age(self) -> float:
        return self._clock() - self._fetched

    def _renew(self) -> asyncio.Task[None] | None:
        """The renewal that is under way, or a new one; None shortly after the last."""
        if self._renewal is not None and not self._renewal.done():
            return self._renewal
        if self._clock() - self._tried < COOLDOWN_SECONDS:
            return None
        self._tried = self._clock()
        self._renewal = asyncio.create_task(self._fetch(), name="renewal of OIDC keys")
        return self._renewal

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_RENEWAL_TIMEOUT):
                uri = self._uri or await self._discover()
                self._keys = _signing_keys(await self._json(uri))
        except KeysUnavailable as error:
            _log.error("no keys from the identity provider", extra={"reason": str(error)})
        except TimeoutError:
            _log.error("no keys from the identity provider", extra={"reason": "it is too slow"})
        except Exception:  # noqa: BLE001 - whatever a provider sends, sign-in must not end
            _log.exception("reading the identity provider's keys failed")
        else:
            self._fetched = self._clock()

    async def _discover(self) -> str:
        found = await self._json(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        uri = found.get("jwks_uri")
        if found.get("issuer") != self._issuer:
            raise KeysUnavailable("the discovery document is another issuer's")
        if not isinstance(uri, str) or not is_safe_url(uri):
            raise KeysUnavailable("the discovery document names no usable jwks_uri")
        return uri

    async def _json(self, url: str) -> dict[str, Any]:
        import httpx  # as below

        content = bytearray()
        try:
            async with self._http.stream("GET", url, timeout=_TIMEOUT) as answer:
                if answer.status_code != 200:
                    raise KeysUnavailable(f"{url} answered {answer.status_code}")
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MAX_BYTES:
                        raise KeysUnavailable(f"{url} answered with too much")
            found = httpx.Response(200, content=bytes(content)).json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise KeysUnavailable(f"{url}: {type(error).__name__}") from error
        if not isinstance(found, dict):
            raise KeysUnavailable(f"{url} answered with something else than an object")
        return found


def is_safe_url(url: str) -> bool:
    """Whether nobody on the way can change what comes from there: TLS, or this machine."""
    # Five megabytes that a gateway without an identity provider need not have.
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    local = parsed.host in ("localhost", "127.0.0.1", "::1")
    return bool(parsed.host) and (parsed.scheme == "https" or (parsed.scheme == "http" and local))


def _signing_keys(document: dict[str, Any]) -> dict[str, PyJWK]:
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise KeysUnavailable("the key set is not one")
    found: dict[str, PyJWK] = {}
    for each in keys:
        # Keys for encryption, of new kinds, or with shared secrets are passed over (RFC 7517 §5).
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        if not isinstance(key_id := each.get("kid"), str):
            continue
        try:
            key = PyJWK(each)
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if key.algorithm_name in ALGORITHMS and not hasattr(key.key, "private_bytes"):
            found[key_id] = key
    return found
