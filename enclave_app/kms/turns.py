"""How many requests may wait for KMS at once.

Each holds one of the gateway's connections to this worker. If KMS grows slow, they must not
come to hold all of them: sealed requests and known data keys need no KMS.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Protocol

from enclave_app.kms.errors import KmsUnavailable
from enclave_app.kms.transport import MAX_CONNECTIONS

#: As many as there are connections to KMS: more would only wait for one of them.
WAITING: Final = MAX_CONNECTIONS
#: Seconds to wait for a turn: ten calls of a KMS that is well.
PATIENCE: Final = 0.5


class Decrypts(Protocol):
    """A client of KMS."""

    def decrypt(
        self, ciphertext_blob: bytes, encryption_context: Mapping[str, str], key_arn: str
    ) -> bytes:
        """Return the data key, or raise KmsRefused or KmsUnavailable."""


class KmsTurns:
    """Lets a client of KMS be used by so many requests at once, and sends the others away.

    Args:
        kms: The client.
        waiting: How many may use it at once.
        patience: Seconds to wait for a turn.
    """

    def __init__(self, kms: Decrypts, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self._kms = kms
        self._patience = patience
        self._turns = threading.BoundedSemaphore(waiting)

    def decrypt(
        self, ciphertext_blob: bytes, encryption_context: Mapping[str, str], key_arn: str
    ) -> bytes:
        """Return the data key.

        Raises:
            KmsRefused: KMS does not release it to this enclave.
            KmsUnavailable: It did not answer, or too many wait for it already.
        """
        if not self._turns.acquire(timeout=self._patience):
            raise KmsUnavailable
        try:
            return self._kms.decrypt(ciphertext_blob, encryption_context, key_arn)
        finally:
            self._turns.release()
