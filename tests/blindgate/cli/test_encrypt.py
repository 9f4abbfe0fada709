"""`blindgate encrypt` against the dev KMS: what it writes is opened with KMS's own answer."""

from __future__ import annotations

import base64
import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import AlgorithmSuite
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from blindgate.cli import app
from tests.kms_fixtures import (
    ADMIN,
    CLIENT,
    RunningKms,
    dev_root,
    enclaves,
    kms,
    kms_certificates,
)

__all__ = ["dev_root", "enclaves", "kms", "kms_certificates"]

PHOTO = os.urandom(200_000)
ALIAS = "alias/blindgate-cli"


@pytest.fixture(scope="module")
def arn(kms: RunningKms) -> str:
    """A key under which the client may encrypt; it may also decrypt, to check what was written."""
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": CLIENT},
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": "*",
    }
    manage = {
        "Effect": "Allow",
        "Principal": {"AWS": ADMIN},
        "Action": ["kms:CreateAlias", "kms:DisableKey"],
        "Resource": "*",
    }
    arn = kms.create_key({"Version": "2012-10-17", "Statement": [allow, manage]})
    kms.client("admin").create_alias(AliasName=ALIAS, TargetKeyId=arn)
    return arn


@pytest.fixture
def as_client(kms: RunningKms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(kms.certificates.ca))
    who = kms.principals["client"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", who.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", who.secret_access_key)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    return path


@pytest.fixture
def run(kms: RunningKms, arn: str, as_client: None) -> Iterator[Callable[..., Result]]:
    def run(*arguments: object, key: str = ALIAS) -> Result:
        words = ["encrypt", *map(str, arguments), "--key-id", key]
        words += ["--region", kms.region, "--endpoint-url", kms.endpoint]
        return CliRunner().invoke(app, words)

    yield run
    # An error's traceback holds botocore's connections, and the dev KMS waits for them to close.
    gc.collect()


def said(result: Result) -> str:
    """The one line of an error."""
    lines = result.stderr.strip().splitlines()
    assert result.exit_code != 0
    assert result.stdout == ""
    assert len(lines) == 1, result.stderr
    return lines[0]


def opened(kms: RunningKms, arn: str, message: bytes) -> tuple[bytes, Any]:
    key = KMSMasterKey(key_id=arn, client=kms.client("client"))
    content, header = aws_encryption_sdk.EncryptionSDKClient().decrypt(
        source=message, key_provider=key
    )
    return bytes(content), header


def test_by_default_it_writes_an_encryption_sdk_message_that_commits_to_its_key(
    kms: RunningKms, arn: str, run: Callable[..., Result], photo: Path
) -> None:
    result = run(photo)
    assert result.exit_code == 0, result.stderr
    written = photo.with_name("photo.jpg.encrypted")
    assert result.stdout == f"{written}  {written.stat().st_size:,} bytes\n"
    content, header = opened(kms, arn, written.read_bytes())
    assert content == PHOTO
    assert header.algorithm is AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    assert header.encryption_context == {"purpose": "blindgate"}
    (wrapped,) = header.encrypted_data_keys
    assert wrapped.key_provider.key_info.decode() == arn, "the alias became the key's ARN"
    assert sorted(each.name for each in photo.parent.iterdir()) == [
        "photo.jpg",
        "photo.jpg.encrypted",
    ]


def test_the_samples_layout(
    kms: RunningKms, run: Callable[..., Result], photo: Path, arn: str
) -> None:
    result = run(photo, "--format", "sample")
    assert result.exit_code == 0, result.stderr
    assert "sample_files = true" in result.stderr
    data = photo.with_name("photo.jpg.encrypted").read_bytes()
    blob = photo.with_name("photo.jpg.data_key.encrypted").read_bytes()
    assert data[:4] == len(blob).to_bytes(4, "big")
    assert data[4 : 4 + len(blob)] == blob
    key = kms.client("client").decrypt(CiphertextBlob=blob, KeyId=arn)["Plaintext"]
    assert Fernet(base64.urlsafe_b64encode(key)).decrypt(data[4 + len(blob) :]) == PHOTO
    assert len(result.stdout.splitlines()) == 2


def test_the_context_can_be_another(
    kms: RunningKms, run: Callable[..., Result], photo: Path, arn: str
) -> None:
    assert run(photo, "--context", "purpose=mri", "--context", "a=b=c").exit_code == 0
    _, header = opened(kms, arn, photo.with_name("photo.jpg.encrypted").read_bytes())
    assert header.encryption_context == {"purpose": "mri", "a": "b=c"}


def test_the_region_comes_from_the_arn(
    kms: RunningKms, photo: Path, arn: str, as_client: None
) -> None:
    words = ["encrypt", str(photo), "--key-id", arn, "--endpoint-url", kms.endpoint]
    assert CliRunner().invoke(app, words).exit_code == 0


def test_files_are_not_replaced_unless_told(run: Callable[..., Result], photo: Path) -> None:
    beside = photo.with_name("photo.jpg.data_key.encrypted")
    beside.write_bytes(b"precious")
    assert "exists already" in said(run(photo, "--format", "sample"))
    assert beside.read_bytes() == b"precious"
    assert not photo.with_name("photo.jpg.encrypted").exists()
    assert run(photo, "--format", "sample", "--force").exit_code == 0
    assert "--force" in said(run(photo))
    assert run(photo, "--force").exit_code == 0


def test_the_output_can_be_elsewhere(run: Callable[..., Result], photo: Path) -> None:
    elsewhere = photo.parent / "elsewhere"
    elsewhere.mkdir()
    assert run(photo, "--format", "sample", "-o", elsewhere / "a.encrypted").exit_code == 0
    assert sorted(each.name for each in elsewhere.iterdir()) == [
        "a.data_key.encrypted",
        "a.encrypted",
    ]
    assert "cannot write" in said(run(photo, "-o", photo.parent / "missing" / "b"))


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_that_cannot_be_used_is_named(
    run: Callable[..., Result], photo: Path, content: bytes | None
) -> None:
    if content is None:
        photo.unlink()
    else:
        photo.write_bytes(content)
    assert "photo.jpg" in said(run(photo))
    assert "not a file" in said(run(photo.parent))


def test_an_envelope_is_not_encrypted_again(run: Callable[..., Result], photo: Path) -> None:
    assert run(photo).exit_code == 0
    written = photo.with_name("photo.jpg.encrypted")
    assert "encrypted already" in said(run(written))
    assert run(written, "--force").exit_code == 0


@pytest.mark.parametrize("context", ["purpose", "=x", ""])
def test_a_context_without_a_name_or_value_is_refused(
    run: Callable[..., Result], photo: Path, context: str
) -> None:
    assert "NAME=VALUE" in said(run(photo, "--context", context))


def test_the_sample_has_no_context(run: Callable[..., Result], photo: Path) -> None:
    assert "no encryption context" in said(run(photo, "--format", "sample", "--context", "a=b"))


# When AWS says no --------------------------------------------------------------------------------


def test_an_unknown_key_is_named(run: Callable[..., Result], photo: Path) -> None:
    for form in ("sample", "encryption-sdk"):
        line = said(run(photo, "--format", form, key="alias/nowhere"))
        assert "there is no key alias/nowhere" in line
    assert not photo.with_name("photo.jpg.encrypted").exists()


def test_without_credentials_it_says_where_to_get_them(
    run: Callable[..., Result], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no AWS credentials found. Set AWS_PROFILE" in said(run(photo))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    assert "no AWS credentials found" in said(run(photo))


def test_wrong_credentials_are_told_apart_from_forbidden_ones(
    kms: RunningKms, run: Callable[..., Result], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = kms.principals["stranger"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stranger.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stranger.secret_access_key)
    assert "kms:GenerateDataKey" in said(run(photo))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYNOBODY00")
    assert "not valid" in said(run(photo))


def test_an_untrusted_certificate_gets_the_hint(
    run: Callable[..., Result], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    assert "AWS_CA_BUNDLE" in said(run(photo))


def test_an_unknown_profile_and_a_missing_region_are_named(
    run: Callable[..., Result], photo: Path, as_client: None
) -> None:
    assert "elsewhere" in said(run(photo, "--profile", "elsewhere"))
    words = ["encrypt", str(photo), "--key-id", ALIAS]
    assert "--region" in said(CliRunner().invoke(app, words))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://127.0.0.1:9", "cannot reach"),
        ("http://kms.example", "https"),
        ("kms.example", "https"),
        ("https://", "https"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_named(
    photo: Path, as_client: None, monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    words = ["encrypt", str(photo), "--key-id", ALIAS, "--region", "us-east-1"]
    assert word in said(CliRunner().invoke(app, [*words, "--endpoint-url", url]))


def test_a_disabled_key_is_named(kms: RunningKms, run: Callable[..., Result], photo: Path) -> None:
    allow = {"Effect": "Allow", "Principal": {"AWS": [CLIENT, ADMIN]}, "Action": "kms:*"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": "*"}]}
    arn = kms.create_key(json.dumps(policy))
    kms.client("admin").disable_key(KeyId=arn)
    assert "disabled" in said(run(photo, key=arn))
