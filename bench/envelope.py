"""Cost of opening envelopes: `python -m bench.envelope [--json]`.

Two questions. What does one megabyte cost in each format, once its data key is there (CPU time of
one thread, best of some rounds, in memory that can be written to as in the worker)? And what does
KMS cost: envelopes that share a data key against ones that do not, with real TLS, attestation and
CMS, answered by the dev KMS in this process.

Beside each cost are its bar and its floor: what the cryptography of the format alone takes on this
machine, in the same minute. A processor without SHA instructions has floors over some bars.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import boto3
import cbor2
from aws_encryption_sdk.identifiers import AlgorithmSuite
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from blindgate.envelope import encryption_sdk, sample_file
from blindgate.envelope.context import DEFAULT_CONTEXT
from blindgate.link import VsockAddress
from devstack.kms.app import create_app
from devstack.kms.principals import StaticPrincipals, new_session, new_user
from devstack.kms.server import running
from devstack.kms.store import Store
from devstack.kms.tls import ensure_certificates
from devstack.nsm import DevNsm, DevRoot
from enclave_app.envelopes.data_key_cache import CacheLimits
from enclave_app.envelopes.opening import Unsealer, UnsealSettings
from enclave_app.kms.bulkhead import KmsTurns
from enclave_app.kms.client import KmsClient, KmsSettings, UnwrappedKey
from enclave_app.kms.credentials import CredentialStore
from enclave_app.nsm.client import NsmClient

REGION, ACCOUNT = "us-east-1", "111122223333"
CLIENT = f"arn:aws:iam::{ACCOUNT}:user/client"
PARENT = f"arn:aws:iam::{ACCOUNT}:role/blindgate-parent"


@dataclass(frozen=True)
class FormatCost:
    """CPU time of opening one envelope whose data key is cached."""

    format: str
    megabytes: float
    ms: float
    ms_per_megabyte: float
    floor_ms_per_megabyte: float
    bar_ms_per_megabyte: float


@dataclass(frozen=True)
class KmsCost:
    """What a run of envelopes asks of KMS, wall time."""

    envelopes: int
    kms_calls: int
    tls_handshakes: int
    p50_ms: float


@dataclass(frozen=True)
class _Format:
    """One way of writing an envelope, and what opening it must do at least.

    Attributes:
        name: For the reader of the results.
        bar: Milliseconds for a megabyte that were agreed on.
        write: Encrypts a content.
        floor: Does its cryptography alone, on as many bytes as the content has.
    """

    name: str
    bar: float
    write: Callable[[bytes], bytes]
    floor: Callable[[bytearray], object]


class _Nsm(NsmClient):
    def __init__(self, nsm: DevNsm) -> None:
        self._nsm = nsm

    def exchange(self, request: bytes) -> bytes:
        return self._nsm.handle(request)


class _Counted:
    """KMS, counting."""

    def __init__(self, kms: KmsClient) -> None:
        self._kms = KmsTurns(kms)
        self.calls = 0

    def unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        *,
        caller: bytes | None = None,
    ) -> UnwrappedKey:
        self.calls += 1
        return self._kms.unwrap(ciphertext_blob, encryption_context, key_arn, caller=caller)


@dataclass(frozen=True)
class _Stack:
    """A KMS, its key, who encrypts, and the enclave's way to it."""

    key_arn: str
    client: Any
    kms: KmsClient

    def unsealer(self, limits: CacheLimits) -> tuple[Unsealer, _Counted]:
        counted = _Counted(self.kms)
        settings = UnsealSettings((self.key_arn,), DEFAULT_CONTEXT, sample_files=True, cache=limits)
        return Unsealer(settings, counted), counted

    def stock_message(self, content: bytes, suite: AlgorithmSuite) -> bytes:
        """As the AWS library writes it when told nothing but the suite."""
        message, _ = aws_encryption_sdk.EncryptionSDKClient().encrypt(
            source=content,
            key_provider=KMSMasterKey(key_id=self.key_arn, client=self.client),
            encryption_context=dict(DEFAULT_CONTEXT),
            algorithm=suite,
        )
        return bytes(message)

    def sample(self, content: bytes) -> bytes:
        data_key = self.client.generate_data_key(KeyId=self.key_arn, KeySpec="AES_256")
        token = sample_file.seal(data_key["Plaintext"], content)
        return sample_file.SampleFile(data_key["CiphertextBlob"], token).encode()


@contextmanager
def _stack(folder: Path) -> Iterator[_Stack]:
    root = DevRoot.generate()
    certificates = ensure_certificates(folder / "tls", REGION)
    client = new_user(CLIENT, identity_policy=_allow("kms:CreateKey"))
    parent = new_session(PARENT, "i-0123", now=datetime.now(UTC))
    image = {index: os.urandom(48) for index in (0, 1, 2)}
    nsm = DevNsm(root, "i-0368fa67e156d6d23-enc019b8596b1a9dad6", image)
    credentials = CredentialStore()
    credentials.replace(
        cbor2.dumps(
            {
                "access_key_id": parent.access_key_id,
                "secret_access_key": parent.secret_access_key,
                "session_token": parent.session_token,
                "expires": None,
            }
        )
    )
    with Store(folder / "state.json") as store:
        app = create_app(
            store,
            root=root.root,
            region=REGION,
            account=ACCOUNT,
            principals=StaticPrincipals([client, parent]),
        )
        with running(app, certificates=certificates) as port:
            aws = boto3.session.Session().client(
                "kms",
                region_name=REGION,
                endpoint_url=f"https://127.0.0.1:{port}",
                verify=str(certificates.ca),
                aws_access_key_id=client.access_key_id,
                aws_secret_access_key=client.secret_access_key,
            )
            policy = json.dumps(_key_policy(image[0]))
            key = aws.create_key(Policy=policy, BypassPolicyLockoutSafetyCheck=True)
            arn = key["KeyMetadata"]["Arn"]
            host = f"kms.{REGION}.amazonaws.com"
            kms = KmsClient(
                KmsSettings((arn,), {REGION: host}, VsockAddress(3, 8000), certificates.ca),
                _Nsm(nsm),
                credentials,
                dial=lambda _, timeout: socket.create_connection(("127.0.0.1", port), timeout),
            )
            try:
                yield _Stack(arn, aws, kms)
            finally:
                kms.close()
                aws.close()


def _allow(action: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}],
    }


def _key_policy(pcr0: bytes) -> dict[str, Any]:
    attested = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": pcr0.hex()}}
    encrypt = {"Effect": "Allow", "Principal": {"AWS": CLIENT}, "Resource": "*"}
    decrypt = {"Effect": "Allow", "Principal": {"AWS": PARENT}, "Resource": "*"}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {**encrypt, "Action": "kms:GenerateDataKey"},
            {**decrypt, "Action": "kms:Decrypt", "Condition": attested},
        ],
    }


def _formats(stack: _Stack) -> tuple[_Format, ...]:
    """What clients send; frames of 4 KiB are what every stock library writes by default."""
    unsigned = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    signed = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
    return (
        _Format(
            "blindgate encrypt, 64-KiB frames",
            0.35,
            lambda content: encryption_sdk.encrypt(content, kms=stack.client, key_id=stack.key_arn),
            lambda data: _gcm(data, 64 * 1024),
        ),
        _Format(
            "stock SDK, 0x0478, 4-KiB frames",
            1.0,
            lambda content: stack.stock_message(content, unsigned),
            lambda data: _gcm(data, 4096),
        ),
        _Format(
            "stock SDK, 0x0578, 4-KiB frames",
            1.3,
            lambda content: stack.stock_message(content, signed),
            _sha384_and_gcm,
        ),
        _Format("AWS sample", 2.0, stack.sample, _mac_and_cbc),
    )


def _gcm(data: bytearray, frame: int) -> None:
    """AES-256-GCM frame by frame; it costs the same in both directions."""
    encrypt = AESGCM(bytes(32)).encrypt_into
    nonce, view, sealed = bytes(12), memoryview(data), bytearray(frame + 16)
    for start in range(0, len(view) - frame, frame):
        encrypt(nonce, view[start : start + frame], None, sealed)


def _sha384_and_gcm(data: bytearray) -> None:
    """What a signed message takes besides the one ECDSA verification."""
    hashlib.sha384(data).digest()
    _gcm(data, 4096)


def _mac_and_cbc(data: bytearray) -> None:
    """HMAC-SHA256, and AES-128-CBC in place; the base64 around them is not counted."""
    hmac.digest(bytes(16), data, "sha256")
    cipher = Cipher(AES128(bytes(16)), CBC(bytes(16))).decryptor()
    view = memoryview(data)
    cipher.update_into(view[: (len(view) - 16) // 16 * 16], view)


def _best(rounds: int, prepare: Callable[[], object], work: Callable[[], object]) -> float:
    """CPU time of this thread in milliseconds, the shortest of some rounds."""
    times = []
    for _ in range(rounds):
        prepare()
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times) * 1000


def format_costs(stack: _Stack, megabytes: tuple[float, ...], rounds: int) -> list[FormatCost]:
    """CPU time of each format and size, the data key being cached."""
    costs = []
    for size in megabytes:
        content = os.urandom(round(size * 1e6))
        for each in _formats(stack):
            envelope = each.write(content)
            memory = bytearray(envelope)
            opener, _ = stack.unsealer(CacheLimits())
            assert opener.open(memory) == content

            def renew(memory: bytearray = memory, envelope: bytes = envelope) -> None:
                memory[:] = envelope

            plain = bytearray(content)
            floor = _best(rounds, lambda: None, partial(each.floor, plain))
            best = _best(rounds, renew, partial(opener.open, memory))
            costs.append(FormatCost(each.name, size, best, best / size, floor / size, each.bar))
    return costs


def kms_costs(stack: _Stack, envelopes: int) -> tuple[KmsCost, KmsCost]:
    """Envelopes that share one data key, and the same with nothing cached."""
    envelope = encryption_sdk.encrypt(os.urandom(300_000), kms=stack.client, key_id=stack.key_arn)
    measured = []
    for limits in (CacheLimits(), CacheLimits(entries=0)):
        opener, counted = stack.unsealer(limits)
        before = stack.kms.handshakes
        times = []
        for _ in range(envelopes):
            began = time.perf_counter()
            opener.open(envelope)
            times.append(time.perf_counter() - began)
        p50 = statistics.median(times) * 1000
        measured.append(KmsCost(envelopes, counted.calls, stack.kms.handshakes - before, p50))
    return measured[0], measured[1]


def _load() -> str:
    """How busy the machine is: others' work moves these figures."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def main() -> None:
    """Print the costs for a person, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder)) as stack:
        formats = format_costs(stack, (0.3, 1.0, 10.0), max(arguments.rounds, 1))
        cached, uncached = kms_costs(stack, max(arguments.rounds, 1))
    if arguments.json:
        results = {
            "load": _load(),
            "formats": [asdict(cost) for cost in formats],
            "data_key_cached": asdict(cached),
            "data_key_not_cached": asdict(uncached),
        }
        print(json.dumps(results, indent=2))
        return
    print(f"Opening an envelope whose data key is cached, CPU time; {_load()}")
    for cost in formats:
        print(
            f"  {cost.format:32} {cost.megabytes:5.1f} MB {cost.ms:8.2f} ms"
            f" {cost.ms_per_megabyte:7.2f} ms/MB, floor {cost.floor_ms_per_megabyte:5.2f},"
            f" bar {cost.bar_ms_per_megabyte:4.2f}"
        )
    for title, run in (("one data key, cached", cached), ("nothing cached", uncached)):
        print(
            f"{run.envelopes} envelopes, {title}: {run.kms_calls} KMS calls,"
            f" {run.tls_handshakes} TLS handshakes, p50 {run.p50_ms:.2f} ms"
        )


if __name__ == "__main__":
    main()
