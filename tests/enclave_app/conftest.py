"""The dev KMS and enclaves that attest, for tests that need both."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import cbor2
import pytest

from blindgate.link import Address, VsockAddress
from devstack.nsm import DevNsm
from enclave_app.kms.client import KmsClient, KmsSettings
from enclave_app.kms.credentials import CredentialStore
from enclave_app.kms.recipient_keys import RecipientKey, RecipientKeys, generate
from enclave_app.nsm.client import NsmClient
from tests.kms_fixtures import (
    CLIENT,
    PARENT,
    Enclaves,
    RunningKms,
    dev_root,
    enclaves,
    kms,
    kms_certificates,
    measurements,
)

__all__ = ["dev_root", "enclaves", "kms", "kms_certificates"]


class InProcessNsm(NsmClient):
    """The enclave's NSM client in front of the dev NSM, without a socket between them."""

    def __init__(self, nsm: DevNsm) -> None:
        self._nsm = nsm

    def exchange(self, request: bytes) -> bytes:
        return self._nsm.handle(request)


def key_policy(image: str) -> dict[str, Any]:
    """Clients encrypt; the parent's role decrypts for one image only."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": CLIENT},
                "Action": ["kms:Encrypt", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Principal": {"AWS": PARENT},
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "kms:RecipientAttestation:ImageSha384": measurements(image)[0].hex()
                    }
                },
            },
        ],
    }


@dataclass
class Attested:
    """A worker's way to KMS, and the keys in it."""

    client: KmsClient
    credentials: CredentialStore
    key_arn: str
    other_arn: str


@pytest.fixture(scope="session")
def recipient_key() -> RecipientKey:
    """One RSA key for the run, since making one is slow."""
    return generate()


@pytest.fixture(scope="session")
def key_arn(kms: RunningKms) -> str:
    """A key for the image `blue`."""
    return kms.create_key(key_policy("blue"))


@pytest.fixture(scope="session")
def other_arn(kms: RunningKms) -> str:
    """A second key for the image `blue`."""
    return kms.create_key(key_policy("blue"))


@pytest.fixture
def attest(
    kms: RunningKms, enclaves: Enclaves, recipient_key: RecipientKey, key_arn: str, other_arn: str
) -> Iterator[Callable[..., Attested]]:
    """Boots a worker's KMS client in an enclave."""
    clients = []

    def boot(image: str = "blue", age: timedelta = timedelta()) -> Attested:
        parent = kms.principals["parent"]
        store = CredentialStore()
        store.replace(
            cbor2.dumps(
                {
                    "access_key_id": parent.access_key_id,
                    "secret_access_key": parent.secret_access_key,
                    "session_token": parent.session_token,
                    "expires": None,
                }
            )
        )
        target = urlsplit(kms.endpoint)

        def dial(_: Address, timeout: float) -> socket.socket:
            return socket.create_connection((target.hostname, target.port), timeout)

        client = KmsClient(
            KmsSettings(
                key_arns=(key_arn, other_arn),
                hosts={kms.region: f"kms.{kms.region}.amazonaws.com"},
                address=VsockAddress(3, 8000),
                ca_bundle=kms.certificates.ca,
            ),
            InProcessNsm(enclaves.boot(image, age=age).nsm),
            store,
            dial=dial,
            keys=RecipientKeys(lambda: recipient_key),
        )
        clients.append(client)
        return Attested(client, store, key_arn, other_arn)

    yield boot
    for client in clients:
        client.close()
