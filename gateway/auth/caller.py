"""Who calls, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What credentials can allow."""

    DETECT = "detect"
    """Send envelopes and sealed requests."""
    ATTEST = "attest"
    """Fetch attestation documents, sealing keys and the list of models."""
    ADMIN = "admin"
    """See which enclaves run, and where."""


#: What callers may do where nobody signs in: an administrator is always somebody.
EVERYBODY: Final = frozenset({Scope.DETECT, Scope.ATTEST})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        kind: `api-key`, `oidc` or `anonymous`.
        id: Names the caller among its kind: a key's id, a token's subject, an address.
        scopes: What it may do.
    """

    kind: str
    id: str
    scopes: frozenset[Scope]

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"
