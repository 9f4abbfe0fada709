"""The real AWS CLI against the real process, as a user runs both."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blindgate.policy.writer import write_policy
from devstack.kms.accounts import DevAccount
from tests.kms_fixtures import ACCOUNT, pcr_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kms_fixtures import Enclaves

# Each command starts an interpreter: ten seconds in all on an idle machine, minutes on a busy one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
NAMES = DevAccount(ACCOUNT)


class AwsCli:
    """`aws --profile … kms …` with the files that the service wrote."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.options = ("--output", "json", "--endpoint-url", endpoint)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_CONFIG_FILE": str(folder / "aws/config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws/credentials"),
            "AWS_CA_BUNDLE": str(folder / "tls/ca.pem"),
        }

    def run(self, profile: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = Path(sys.executable).with_name("aws")
        return subprocess.run(
            [command, "--profile", profile, *self.options, "kms", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, profile: str, *arguments: str) -> Any:
        done = self.run(profile, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, enclaves: Enclaves) -> Iterator[AwsCli]:
    folder = tmp_path_factory.mktemp("dev-kms")
    (folder / "root.pem").write_bytes(enclaves.root.pem)
    options = f"--listen 127.0.0.1:0 --folder {folder} --nsm-root {folder}/root.pem"
    with subprocess.Popen(
        [sys.executable, "-m", "devstack.kms", *options.split()],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("dev KMS: https://127.0.0.1:"), first
        # Read up to the last line that it prints, so that its files are there.
        while "profiles:" not in process.stderr.readline():
            assert process.poll() is None
        yield AwsCli(folder, first.split()[2].rstrip(","))
        process.terminate()
        process.stderr.read()
    assert process.returncode in (0, -15)


def test_a_user_s_whole_way_with_the_aws_cli(
    aws: AwsCli, tmp_path: Path, enclaves: Enclaves
) -> None:
    full = {"Effect": "Allow", "Principal": {"AWS": NAMES.admin}, "Action": "*", "Resource": "*"}
    made = aws.json("admin", "create-key", "--policy", json.dumps({"Statement": full}))
    key = made["KeyMetadata"]["Arn"]
    aws.json("admin", "create-alias", "--alias-name", "alias/mine", "--target-key-id", key)

    # The CLI from PyPI is version 1: it takes blobs as they are, and prints them in base64.
    sealed = aws.json("admin", "encrypt", "--key-id", "alias/mine", "--plaintext", "hello")
    blob = tmp_path / "blob"
    blob.write_bytes(base64.b64decode(sealed["CiphertextBlob"]))
    opened = aws.json("admin", "decrypt", "--ciphertext-blob", f"fileb://{blob}")
    assert base64.b64decode(opened["Plaintext"]) == b"hello"

    policy = tmp_path / "policy.json"
    policy.write_text(
        json.dumps(
            write_policy(
                pcr_sets=[pcr_set("blue")],
                roles=[NAMES.parent],
                admins=[NAMES.admin],
                owners=[NAMES.client],
            )
        )
    )
    aws.json("admin", "put-key-policy", "--key-id", key, "--policy", f"file://{policy}")
    made = aws.json(
        "client", "generate-data-key", "--key-id", "alias/mine", "--key-spec", "AES_256"
    )
    blob.write_bytes(base64.b64decode(made["CiphertextBlob"]))

    for profile in ("parent", "admin", "client"):
        refused = aws.run(profile, "decrypt", "--ciphertext-blob", f"fileb://{blob}")
        assert refused.returncode != 0
        assert "AccessDeniedException" in refused.stderr

    document = tmp_path / "document"
    enclave = enclaves.boot("blue")
    document.write_bytes(enclave.document())
    recipient = f"KeyEncryptionAlgorithm=RSAES_OAEP_SHA_256,AttestationDocument@=fileb://{document}"
    answer = aws.json(
        "parent", "decrypt", "--ciphertext-blob", f"fileb://{blob}", "--recipient", recipient
    )
    opened_key = enclave.open(base64.b64decode(answer["CiphertextForRecipient"]))
    assert base64.b64encode(opened_key).decode() == made["Plaintext"]
    assert not answer.get("Plaintext")
