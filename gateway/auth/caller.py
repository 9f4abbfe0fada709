"""Who calls, and what that allows."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from blindgate.link.frames import CALLER_BYTES
from gateway.auth.addresses import network_of


class Scope(StrEnum):
    """What credentials can allow."""

    DETECT = "detect"
    """Send envelopes and sealed requests."""
    ATTEST = "attest"
    """Fetch attestation documents, sealing keys and the list of models."""
    ADMIN = "admin"
    """See which enclaves run, and where."""


#: The kind of callers where nobody signs in; their ids are addresses.
ANONYMOUS: Final = "anonymous"
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

    @property
    def share(self) -> str:
        """Whose share of what is limited it takes: one that nobody vouched for, its network's."""
        return f"{self.kind}:{network_of(self.id)}" if self.kind == ANONYMOUS else str(self)


class CallerTags:
    """Opaque tags by which enclaves tell callers apart without learning who they are.

    The key is drawn at random for each process, so a tag links nothing across restarts.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def __repr__(self) -> str:
        return "<CallerTags>"

    def tag(self, caller: Caller) -> bytes:
        """16 bytes, equal for two requests of one caller (docs/link.md §3)."""
        digest = hashlib.blake2b(caller.share.encode(), key=self._key, digest_size=CALLER_BYTES)
        return digest.digest()
