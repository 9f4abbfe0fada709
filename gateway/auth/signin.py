"""From a request's headers to a caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from blindgate import problems
from gateway.auth.attempts import RefusedSignIns
from gateway.auth.caller import ANONYMOUS, EVERYBODY, Caller, Scope
from gateway.auth.jwks import KeysUnavailable
from gateway.auth.keys import PREFIX, KeyRecord
from gateway.auth.oidc import Oidc, TokenRejected
from gateway.http.problem_responses import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

API_KEY_HEADER: Final = "x-api-key"
_REALM: Final = 'Bearer realm="blindgate"'


class KeySource(Protocol):
    """Where API keys are known."""

    def find(self, presented: str) -> KeyRecord | None:
        """The valid key that was presented, or None."""
        ...


class SignIn:
    """Decides who a caller is.

    Without keys and without a provider everybody may use the service, and nobody is its
    administrator.

    Args:
        keys: Where API keys are known.
        oidc: Checks bearer tokens.
    """

    def __init__(self, keys: Sequence[KeySource] = (), oidc: Oidc | None = None) -> None:
        self._keys = tuple(keys)
        self._oidc = oidc
        self._refused = RefusedSignIns()

    @property
    def is_required(self) -> bool:
        """Whether callers must show who they are."""
        return bool(self._keys) or self._oidc is not None

    async def caller(self, request: Request) -> Caller:
        """Who sent this request.

        Raises:
            Refused: `unauthorized`, `sign-in-unavailable`, or `rate-limited` where too many from
                this network were refused.
        """
        try:
            return await self._caller(request)
        except Refused as refused:
            if refused.problem is problems.UNAUTHORIZED:
                self._count_refused(request)
            raise

    def _count_refused(self, request: Request) -> None:
        if (seconds := self._refused.count(_address(request))) is not None:
            raise Refused(
                problems.RATE_LIMITED,
                headers={"retry-after": str(seconds)},
            ) from None

    async def _caller(self, request: Request) -> Caller:
        if not self.is_required:
            return Caller(ANONYMOUS, _address(request), EVERYBODY)
        credential = _credential(request)
        if credential.startswith(PREFIX):
            return self._by_key(credential)
        if self._oidc is None:
            raise unauthorized("invalid_token")
        try:
            return await self._oidc.check(credential)
        except TokenRejected as error:
            text = f"{str(error)[0].upper()}{str(error)[1:]}. {problems.UNAUTHORIZED.advice}"
            raise unauthorized("invalid_token", text) from None
        except KeysUnavailable:
            raise Refused(problems.SIGN_IN_UNAVAILABLE) from None

    def _by_key(self, presented: str) -> Caller:
        for source in self._keys:
            if (record := source.find(presented)) is not None:
                return Caller("api-key", record.id, frozenset(record.scopes))
        raise unauthorized("invalid_token")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _credential(request: Request) -> str:
    """The one API key or token of a request (RFC 6750 §2.1, or `X-API-Key`)."""
    given = [*request.headers.getlist(API_KEY_HEADER)]
    for value in request.headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        given.append(token.strip(" "))
    if len(given) > 1:
        raise unauthorized("invalid_request", "Send one credential, not several.")
    if not given or not given[0]:
        raise unauthorized()
    return given[0]


def unauthorized(error: str | None = None, detail: str | None = None) -> Refused:
    """The 401 of RFC 6750 §3: no `error` where nothing was tried."""
    challenge = f'{_REALM}, error="{error}"' if error else _REALM
    return Refused(
        problems.UNAUTHORIZED,
        detail,
        headers={"www-authenticate": challenge},
    )


def forbidden(scope: Scope) -> Refused:
    """The 403 of RFC 6750 §3.1."""
    challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
    return Refused(
        problems.FORBIDDEN,
        headers={"www-authenticate": challenge},
        scope=str(scope),
    )
