"""API keys in AWS Secrets Manager: the same JSON as in a file, as the secret's string."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from blindgate.errors import BlindgateError
from gateway.auth.keys import InvalidKeyStore, KeyRecord, Keys, KeyStore

_log = logging.getLogger(__name__)


class SecretUnavailable(BlindgateError):
    """The secret cannot be read or written."""


class KeySecret:
    """Keys that are fetched again every so often.

    The first reading happens here, so that a gateway whose secret cannot be read does not start.

    Args:
        name: The secret's name or ARN.
        client: A botocore client of Secrets Manager.
        period: Seconds between two readings: how long a revoked key may still count.

    Raises:
        SecretUnavailable: It cannot be read.
        InvalidKeyStore: It is not a list of keys.
    """

    def __init__(self, name: str, client: Any, period: float) -> None:
        self._name = name
        self._client = client
        self._period = period
        self._keys = Keys(read_secret(client, name))

    def __repr__(self) -> str:
        return f"<KeySecret {self._name}, {len(self._keys)} keys>"

    def find(self, presented: str) -> KeyRecord | None:
        """The valid key that was presented, or None."""
        return self._keys.find(presented)

    async def run(self) -> None:
        """Keep reading until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            try:
                self._keys = Keys(await asyncio.to_thread(read_secret, self._client, self._name))
            except (SecretUnavailable, InvalidKeyStore) as error:
                # AWS being away must not lock everybody out; the keys known last go on.
                _log.error("the secret with the keys was not read", extra={"reason": str(error)})


def secrets_client() -> Any:
    """A client of Secrets Manager with the environment's credentials and region."""
    import botocore.session

    try:
        return botocore.session.get_session().create_client("secretsmanager")
    except BotoCoreError as error:
        raise SecretUnavailable(f"AWS Secrets Manager cannot be used: {error}") from error


def read_secret(client: Any, name: str) -> KeyStore:
    """The keys in a secret.

    Raises:
        SecretUnavailable: It cannot be read.
        InvalidKeyStore: It is not a list of keys.
    """
    try:
        text = client.get_secret_value(SecretId=name).get("SecretString")
    except (BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the secret with the API keys: {error}") from error
    if not isinstance(text, str):
        raise InvalidKeyStore("the secret is binary, not text")
    return KeyStore.from_json(text)


def change_secret(client: Any, name: str, change: Callable[[KeyStore], KeyStore]) -> None:
    """Put a new version of a secret.

    Raises:
        SecretUnavailable: It cannot be read or written.
        InvalidKeyStore: It holds something else.
    """
    text = change(read_secret(client, name)).to_json()
    try:
        client.put_secret_value(SecretId=name, SecretString=text)
    except (BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the secret with the API keys: {error}") from error
