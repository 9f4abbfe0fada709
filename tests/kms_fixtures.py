"""A dev KMS for tests: real TLS on a free port, real clients, enclaves that attest.

Another package's tests take what they need with `from tests.kms_fixtures import kms, dev_root`
in their `conftest.py`. The server is shared by a whole run; a test makes its own keys.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from asn1crypto.cms import ContentInfo
from botocore.config import Config
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blindgate.attestation import PcrSet, Root
from devstack.kms.app import create_app, utc_now
from devstack.kms.principals import Principal, StaticPrincipals, new_session, new_user
from devstack.kms.server import running
from devstack.kms.store import Key, State, Store
from devstack.kms.tls import Certificates, ensure_certificates
from devstack.nsm import DevNsm, DevRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

REGION = "us-east-1"
ACCOUNT = "111122223333"
ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
CLIENT = f"arn:aws:iam::{ACCOUNT}:user/client"
STRANGER = f"arn:aws:iam::{ACCOUNT}:user/stranger"
PARENT = f"arn:aws:iam::{ACCOUNT}:role/blindgate-parent"
#: A role whose identity policy allows everything on KMS: what root delegation would let in.
MIGHTY = f"arn:aws:iam::{ACCOUNT}:role/mighty"
ACCOUNT_ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def allow(*actions: str, resource: str = "*") -> dict[str, Any]:
    """An identity policy with one Allow."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def people(now: datetime) -> dict[str, Principal]:
    """Everybody who may try, by short name."""
    return {
        "admin": new_user(
            ADMIN, identity_policy=allow("kms:CreateKey", "kms:ListAliases", "kms:CreateAlias")
        ),
        "client": new_user(CLIENT),
        "stranger": new_user(STRANGER),
        "parent": new_session(PARENT, "i-0123", now=now),
        "mighty": new_session(MIGHTY, "i-0456", now=now, identity_policy=allow("kms:*")),
    }


@dataclass(frozen=True)
class RunningKms:
    """A dev KMS that is up.

    Attributes:
        endpoint: Its URL.
        certificates: TLS material; `.ca` is what clients trust.
        principals: Credentials by short name.
        root: The root of the attestation documents it accepts.
    """

    endpoint: str
    certificates: Certificates
    principals: Mapping[str, Principal]
    root: Root
    region: str = REGION
    account: str = ACCOUNT
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, name: str) -> Any:
        """A boto3 client with the credentials of one principal."""
        if name not in self._clients:
            self._clients[name] = self.client_for(self.principals[name])
        return self._clients[name]

    def client_for(self, principal: Principal, **changes: Any) -> Any:
        """A new boto3 client; the caller closes it."""
        options = {
            "region_name": self.region,
            "endpoint_url": self.endpoint,
            "verify": str(self.certificates.ca),
            "aws_access_key_id": principal.access_key_id,
            "aws_secret_access_key": principal.secret_access_key,
            "aws_session_token": principal.session_token,
            "config": Config(
                retries={"total_max_attempts": 1}, connect_timeout=30, read_timeout=30
            ),
        }
        return boto3.session.Session().client("kms", **(options | changes))

    def create_key(self, policy: Mapping[str, Any] | str | None = None) -> str:
        """A new key with a policy, put whether it locks the admin out or not; its ARN."""
        options: dict[str, Any] = {}
        if policy is not None:
            text = policy if isinstance(policy, str) else json.dumps(policy)
            options = {"Policy": text, "BypassPolicyLockoutSafetyCheck": True}
        return str(self.client("admin").create_key(**options)["KeyMetadata"]["Arn"])

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()


@contextmanager
def running_kms(
    folder: Path,
    certificates: Certificates,
    root: Root,
    *,
    principals: Mapping[str, Principal] | None = None,
    clock: Callable[[], datetime] = utc_now,
    region: str = REGION,
    keys: Iterable[Key] = (),
) -> Iterator[RunningKms]:
    """A dev KMS with its state in a folder, while the block runs; with these keys to begin with."""
    known = principals or people(utc_now())
    with Store(folder / "state.json") as store:
        for key in keys:
            store.commit(partial(State.with_key, key=key))
        app = create_app(
            store,
            root=root,
            region=region,
            account=ACCOUNT,
            principals=StaticPrincipals(known.values()),
            clock=clock,
        )
        with running(app, certificates=certificates) as port:
            kms = RunningKms(f"https://127.0.0.1:{port}", certificates, known, root, region)
            try:
                yield kms
            finally:
                kms.close()


@dataclass(frozen=True)
class Enclave:
    """An enclave that attests, and opens what KMS answers for it."""

    nsm: DevNsm
    key: rsa.RSAPrivateKey

    @property
    def public_key(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def document(self, public_key: bytes | str | None = "own") -> bytes:
        """An attestation document, with the enclave's key unless told otherwise."""
        carried = self.public_key if isinstance(public_key, str) else public_key
        return self.nsm.attest(public_key=carried)

    def recipient(self) -> dict[str, Any]:
        """The `Recipient` of a request, with a fresh document."""
        return recipient(self.document())

    def open(self, ciphertext: bytes) -> bytes:
        """Open a CiphertextForRecipient, read by asn1crypto."""
        enveloped = ContentInfo.load(ciphertext)["content"]
        (info,) = enveloped["recipient_infos"]
        identifier = info.chosen["rid"].chosen.native
        assert identifier == hashlib.sha256(self.public_key).digest()
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)
        content_key = self.key.decrypt(info.chosen["encrypted_key"].native, oaep)
        content = enveloped["encrypted_content_info"]
        iv = content["content_encryption_algorithm"]["parameters"].native
        decryptor = Cipher(algorithms.AES(content_key), modes.CBC(iv)).decryptor()
        padded = decryptor.update(content["encrypted_content"].native) + decryptor.finalize()
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(padded) + unpadder.finalize()


def recipient(document: bytes) -> dict[str, Any]:
    """The `Recipient` member of a request."""
    return {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}


def measurements(image: str, *, signer: str | None = None) -> dict[int, bytes]:
    """PCR0, 1, 2 of an imaginary image, and PCR8 if it is signed."""
    pcrs = {i: hashlib.sha384(f"{image}{i}".encode()).digest() for i in (0, 1, 2)}
    if signer is not None:
        pcrs[8] = hashlib.sha384(signer.encode()).digest()
    return pcrs


def pcr_set(image: str) -> PcrSet:
    """The PCR set of an imaginary image."""
    return PcrSet(image, measurements(image))


class Enclaves:
    """Boots enclaves under one root; their RSA key is made once."""

    def __init__(self, root: DevRoot) -> None:
        self.root = root

    @cached_property
    def key(self) -> rsa.RSAPrivateKey:
        """The RSA key that they share, since making one is slow."""
        return rsa.generate_private_key(65537, 2048)

    def boot(
        self,
        image: str = "blue",
        *,
        signer: str | None = None,
        debug: bool = False,
        age: timedelta = timedelta(),
    ) -> Enclave:
        """Boot an enclave.

        Args:
            image: Name of an imaginary image, which decides its PCRs.
            signer: Name of its signing certificate.
            debug: Whether it runs in debug mode.
            age: How old its documents are when they come out.
        """
        return self.boot_measured(measurements(image, signer=signer), debug=debug, age=age)

    def boot_measured(
        self, pcrs: Mapping[int, bytes], *, debug: bool = False, age: timedelta = timedelta()
    ) -> Enclave:
        """Boot an enclave with these measurements."""
        nsm = DevNsm(
            self.root,
            f"i-{'0' * 17}-enc{'0' * 16}",
            pcrs,
            debug_mode=debug,
            clock=lambda: datetime.now(UTC) - age,
        )
        return Enclave(nsm, self.key)


@pytest.fixture(scope="session")
def dev_root() -> DevRoot:
    """A dev root of this run."""
    return DevRoot.generate()


@pytest.fixture(scope="session")
def enclaves(dev_root: DevRoot) -> Enclaves:
    """Enclaves under the dev root."""
    return Enclaves(dev_root)


@pytest.fixture(scope="session")
def kms_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """TLS material of this run."""
    return ensure_certificates(tmp_path_factory.mktemp("kms-tls"), REGION)


@pytest.fixture(scope="session")
def kms(
    tmp_path_factory: pytest.TempPathFactory, kms_certificates: Certificates, dev_root: DevRoot
) -> Iterator[RunningKms]:
    """The dev KMS of this run."""
    folder = tmp_path_factory.mktemp("kms")
    with running_kms(folder, kms_certificates, dev_root.root) as service:
        yield service
