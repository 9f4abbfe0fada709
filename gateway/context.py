"""What the gateway knows of one request, from its head to its access-log line."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from blindgate.link.frames import REQUEST_ID_BYTES
from gateway.telemetry.timeline import Timeline

if TYPE_CHECKING:
    from blindgate.problems import Problem
    from gateway.auth.caller import Caller

_KEY: Final = "blindgate"


@dataclass(slots=True)
class RequestContext:
    """The state of one request that its layers share: the only entry in its ASGI state.

    Attributes:
        request_id: Ours, never the client's: that could collide, or forge lines in a log.
        timeline: When the request passed through which stage.
        caller: The caller; None before they are authenticated.
        response_headers: Further headers of the response.
        problem: The slug of the problem that the application responded with.
        refused: The problem that the HTTP server responded with instead of the application.
        enclave: The address of the enclave that responded last.
        audited: Whether the fields below are recorded.
        ciphertexts: The SHA-256 of each ciphertext that was sent to an enclave.
        enclaves: The addresses of all enclaves that responded, each once.
        kms: KMS's ids of the calls that enclaves made.
    """

    request_id: str = field(default_factory=lambda: secrets.token_hex(REQUEST_ID_BYTES))
    timeline: Timeline = field(default_factory=Timeline)
    caller: Caller | None = None
    response_headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    refused: Problem | None = None
    enclave: str | None = None
    audited: bool = False
    ciphertexts: list[str] = field(default_factory=list)
    enclaves: list[str] = field(default_factory=list)
    kms: list[str] = field(default_factory=list)

    def require_caller(self) -> Caller:
        """The authenticated caller.

        Raises:
            RuntimeError: A route has no access check.
        """
        if self.caller is None:
            raise RuntimeError("the caller of this request was not authenticated")
        return self.caller


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """The context of an HTTP request; the first call for a request makes it."""
    state: dict[str, RequestContext] = scope.setdefault("state", {})
    if _KEY not in state:
        state[_KEY] = RequestContext()
    return state[_KEY]
