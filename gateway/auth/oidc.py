"""Bearer tokens of an OpenID Connect provider (RFC 9068's checks, by PyJWT)."""

from __future__ import annotations

from typing import Any, Final

import jwt
from jwt.exceptions import PyJWTError

from blindgate.errors import BlindgateError
from gateway.auth.caller import Caller, Scope
from gateway.auth.jwks import ALGORITHMS, Jwks

#: Room for a token with many groups in it; servers refuse headers of more than 8 to 16 KiB.
MAX_TOKEN: Final = 8 * 1024
#: Subjects are logged: 255 is OpenID Connect's own limit (Core 1.0 §2).
MAX_SUBJECT: Final = 255


class TokenRejected(BlindgateError):
    """A token does not pass. The message says which rule, and nothing of the token."""


class Oidc:
    """Checks tokens of one issuer for one audience.

    Args:
        jwks: The issuer's keys.
        issuer: What `iss` must be.
        audience: What `aud` must be or hold.
        scope_claim: The claim that holds the scopes: words in a string, or a list of strings.
        leeway: Seconds by which clocks may differ.
    """

    def __init__(
        self, jwks: Jwks, *, issuer: str, audience: str, scope_claim: str, leeway: float
    ) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._scope_claim = scope_claim
        self._leeway = leeway

    async def check(self, token: str) -> Caller:
        """Who a token belongs to.

        Raises:
            TokenRejected: It does not pass.
            KeysUnavailable: It cannot be checked now.
        """
        if len(token) > MAX_TOKEN:
            raise TokenRejected("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            raise TokenRejected("the token is not a JWT") from None
        # Before any key is fetched: `none` and shared secrets never get further.
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise TokenRejected("the token's algorithm is not allowed")
        if not isinstance(key_id := header.get("kid"), str):
            raise TokenRejected("the token names no key")
        key = await self._jwks.find(key_id)
        if key is None:
            raise TokenRejected("the token's key is not the issuer's")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except PyJWTError as error:
            raise TokenRejected(_rule(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise TokenRejected("the token's claims are not valid") from None
        return Caller("oidc", _subject(claims), _scopes(claims.get(self._scope_claim)))


_RULES: Final = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim"),
    (jwt.InvalidSignatureError, "the token's signature is not valid"),
    (jwt.InvalidAlgorithmError, "the token's algorithm is not allowed"),
)


def _rule(error: PyJWTError) -> str:
    return next(
        (rule for kind, rule in _RULES if isinstance(error, kind)), "the token is not valid"
    )


def _subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject.isprintable() or len(subject) > MAX_SUBJECT:
        raise TokenRejected("the token's subject is not valid")
    return subject


def _scopes(claim: Any) -> frozenset[Scope]:
    """The scopes that we know; providers put their own beside them."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    known = {scope.value for scope in Scope}
    return frozenset(Scope(word) for word in words if isinstance(word, str) and word in known)
