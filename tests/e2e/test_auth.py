"""Sign-in and the audit log on a stack of their own: keys from the command, real clients."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from blindgate import Blindgate, problems
from blindgate.attestation import PcrSet, Root, Trust
from blindgate.client.errors import ProblemError
from blindgate.envelope.encryption_sdk import encrypt
from tests.e2e.live import LiveStack, live_stack

pytestmark = pytest.mark.e2e
OCTETS = {"content-type": "application/octet-stream"}


@dataclass
class Guarded:
    """A stack that wants to know who calls, and its files."""

    stack: LiveStack
    keys: Path
    log: Path

    @property
    def trust(self) -> Trust:
        state = Path(self.stack.running.state)
        root = Root.from_pem((state / "root.pem").read_bytes())
        return Trust(root, (PcrSet.from_file(state / "pcrs.json"),))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def client(self, key: str) -> httpx.Client:
        headers = {"x-api-key": key}
        return httpx.Client(base_url=self.stack.url, headers=headers, timeout=300, trust_env=False)


def blindgate(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "blindgate", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_key(keys: Path, *scopes: str) -> str:
    chosen = [part for scope in scopes for part in ("--scope", scope)]
    return blindgate("keys", "create", "test", *chosen, "--file", keys)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, log = folder / "keys.json", folder / "audit.jsonl"
    make_key(keys, "admin")
    environment = {"BLINDGATE_API_KEYS": str(keys), "BLINDGATE_AUDIT_LOG": str(log)}
    with live_stack(environment=environment) as stack:
        yield Guarded(stack, keys, log)


def test_the_sealed_client_signs_in_outside_the_seal(guarded: Guarded, coffee: Path) -> None:
    key = make_key(guarded.keys, "detect", "attest")
    with guarded.client(key) as http, Blindgate(
        guarded.stack.url, trust=guarded.trust, http=http
    ) as client:  # fmt: skip
        assert "cup" in {each.label for each in client.detect(coffee).detections}
    operations = [each["operation"] for each in guarded.records()]
    assert {"getAttestation", "sendSealed"} <= set(operations)
    sealed = guarded.records()[operations.index("sendSealed")]
    assert sealed["caller"] == "api-key:" + key.split("_")[1]
    assert sealed["outcome"] == "ok"
    assert len(sealed["ciphertexts"]) == 1


def test_without_a_key_the_client_is_told_to_sign_in(guarded: Guarded, coffee: Path) -> None:
    with Blindgate(guarded.stack.url, trust=guarded.trust) as client, pytest.raises(
        ProblemError
    ) as error:  # fmt: skip
        client.detect(coffee)
    assert error.value.type == problems.UNAUTHORIZED.type


def test_the_log_names_the_ciphertext_its_enclave_and_the_image_that_ran(
    guarded: Guarded, coffee: Path
) -> None:
    running = guarded.stack.running
    envelope = encrypt(coffee.read_bytes(), kms=guarded.stack.kms(), key_id=running.key_alias)
    with guarded.client(make_key(guarded.keys, "detect")) as http:
        answer = http.post("/v1/detections", content=envelope, headers=OCTETS)
        assert answer.status_code == 200, answer.text
        refused = http.post("/v1/detections", content=envelope[:-1], headers=OCTETS)
    line, failed = guarded.records()[-2:]
    (measured,) = guarded.trust.pcr_sets
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["ciphertexts"] == [sha256(envelope).hexdigest()]
    assert [each["pcr0"] for each in line["enclaves"]] == [measured.values[0].hex()]
    assert len(line["kms"]) == 1
    assert (line["outcome"], failed["outcome"]) == ("ok", "envelope-rejected")
    assert refused.status_code == 422
    assert "cup" not in guarded.log.read_text()


def test_a_revoked_key_is_out_at_once(guarded: Guarded) -> None:
    key = make_key(guarded.keys, "attest")
    with guarded.client(key) as http:
        assert http.get("/v1/models").status_code == 200
        blindgate("keys", "revoke", key.split("_")[1], "--file", guarded.keys)
        assert http.get("/v1/models").status_code == 401


def test_the_command_finds_a_changed_line(guarded: Guarded, tmp_path: Path) -> None:
    # A request that reaches an enclave gets a line immediately.
    with guarded.client(make_key(guarded.keys, "detect")) as http:
        refused = http.post("/v1/detections", content=b"no envelope", headers=OCTETS)
    assert refused.status_code == 422
    head = blindgate("audit", "verify", guarded.log)
    assert int(head.split(":")[0]) == len(guarded.records())
    forged = tmp_path / "audit.jsonl"
    forged.write_text(guarded.log.read_text().replace("envelope-rejected", "ok", 1))
    done = guarded.stack.cli("audit", "verify", forged)
    assert done.returncode == 1
    assert "changed" in done.stderr
    done = guarded.stack.cli("audit", "verify", "--head", head, guarded.log)
    assert done.returncode == 0, done.stderr


def test_a_gateway_for_the_world_does_not_start_without_sign_in() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nobody would have to sign in" in done.stderr
