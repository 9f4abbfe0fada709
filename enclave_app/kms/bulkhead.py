"""How many requests may wait for KMS at once.

Each holds one of the gateway's connections to this worker. If KMS grows slow, they must not
come to hold all of them: sealed requests and known data keys need no KMS. Nor may the requests of
one caller, whose wrapped keys may be bytes at random, hold all of the turns.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Protocol

from enclave_app.kms.client import UnwrappedKey
from enclave_app.kms.errors import KmsUnavailable
from enclave_app.kms.transport import MAX_CONNECTIONS
from enclave_app.scheduling.fair_share import FairShare

#: As many as there are connections to KMS: more would only wait for one of them.
WAITING: Final = MAX_CONNECTIONS
#: Seconds to wait for a turn: ten calls of a KMS that is well.
PATIENCE: Final = 0.5


class Decrypts(Protocol):
    """A client of KMS."""

    def unwrap(
        self, ciphertext_blob: bytes, encryption_context: Mapping[str, str], key_arn: str
    ) -> UnwrappedKey:
        """Return the data key, or raise KmsRefused or KmsUnavailable."""


class KmsTurns:
    """A bulkhead around a client of KMS: a bounded number of calls, shared out between callers.

    Args:
        kms: The client.
        waiting: How many may use it at once.
        patience: Seconds to wait for a turn.
    """

    def __init__(self, kms: Decrypts, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self._kms = kms
        self._patience = patience
        self._share = FairShare(waiting)
        self._changed = threading.Condition()

    def unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        *,
        caller: bytes | None = None,
    ) -> UnwrappedKey:
        """Return the data key.

        Args:
            ciphertext_blob: The wrapped data key.
            encryption_context: What it was wrapped with.
            key_arn: A pinned key.
            caller: The gateway's tag of the client that asks.

        Raises:
            KmsRefused: KMS does not release it to this enclave.
            KmsUnavailable: It did not answer, or too many wait for it already.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._share.allows(caller), self._patience):
                raise KmsUnavailable
            self._share.take(caller)
        try:
            return self._kms.unwrap(ciphertext_blob, encryption_context, key_arn)
        finally:
            with self._changed:
                self._share.give_back(caller)
                self._changed.notify_all()
