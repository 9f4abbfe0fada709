"""The KMS client and the dev KMS, which refuses by AWS's rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enclave_app.kms.errors import KmsClockSkew, KmsRefused
from tests.enclave_app.conftest import Attested, key_policy
from tests.kms_fixtures import RunningKms

CONTEXT = {"purpose": "blindgate"}


def wrap(kms: RunningKms, arn: str, context: dict[str, str] = CONTEXT) -> Any:
    return kms.client("client").generate_data_key(
        KeyId=arn, KeySpec="AES_256", EncryptionContext=context
    )


def test_the_attested_image_gets_the_data_key(
    kms: RunningKms, attest: Callable[..., Attested]
) -> None:
    worker = attest()
    wrapped = wrap(kms, worker.key_arn)
    released = worker.client.unwrap(wrapped["CiphertextBlob"], CONTEXT, worker.key_arn)
    assert released.plaintext == wrapped["Plaintext"]
    assert released.request_ids


@pytest.mark.parametrize("boot", [{"image": "green"}, {"age": timedelta(minutes=6)}])
def test_another_image_or_an_old_document_is_refused(
    kms: RunningKms, attest: Callable[..., Attested], boot: dict[str, Any]
) -> None:
    worker = attest(**boot)
    blob = wrap(kms, worker.key_arn)["CiphertextBlob"]
    with pytest.raises(KmsRefused) as caught:
        worker.client.unwrap(blob, CONTEXT, worker.key_arn)
    assert str(caught.value) == "KMS refused"
    assert caught.value.request_ids


@pytest.mark.parametrize(("minutes", "state"), [(-6, "behind"), (6, "ahead")])
def test_a_wrong_clock_is_told_from_a_policy_that_refuses(
    kms: RunningKms,
    attest: Callable[..., Attested],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    minutes: int,
    state: str,
) -> None:
    worker = attest()
    wrapped = wrap(kms, worker.key_arn)
    with monkeypatch.context() as clock:
        wrong = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
        clock.setattr("botocore.auth.get_current_datetime", lambda: wrong)
        with pytest.raises(KmsClockSkew):
            worker.client.unwrap(wrapped["CiphertextBlob"], CONTEXT, worker.key_arn)
    assert worker.client.clock_state == state
    assert "KMS refuses this enclave's clock" in caplog.text
    released = worker.client.unwrap(wrapped["CiphertextBlob"], CONTEXT, worker.key_arn).plaintext
    assert released == wrapped["Plaintext"]
    assert worker.client.clock_state == "ok"


def test_another_context_or_key_is_refused(
    kms: RunningKms, attest: Callable[..., Attested]
) -> None:
    worker = attest()
    blob = wrap(kms, worker.key_arn)["CiphertextBlob"]
    with pytest.raises(KmsRefused):
        worker.client.unwrap(blob, {"purpose": "other"}, worker.key_arn)
    with pytest.raises(KmsRefused):
        worker.client.unwrap(blob, {}, worker.key_arn)
    with pytest.raises(KmsRefused):
        worker.client.unwrap(blob, CONTEXT, worker.other_arn)
    with pytest.raises(KmsRefused):
        worker.client.unwrap(blob[:-1] + b"\0", CONTEXT, worker.key_arn)


def test_a_key_that_is_not_pinned_is_not_asked_for(
    kms: RunningKms, attest: Callable[..., Attested]
) -> None:
    worker = attest()
    unpinned = kms.create_key(key_policy("blue"))
    blob = wrap(kms, unpinned)["CiphertextBlob"]
    with pytest.raises(ValueError, match="pinned"):
        worker.client.unwrap(blob, CONTEXT, unpinned)
    assert worker.client.handshakes == 0


def test_connections_are_kept(kms: RunningKms, attest: Callable[..., Attested]) -> None:
    worker = attest()
    blob = wrap(kms, worker.key_arn)["CiphertextBlob"]
    for _ in range(5):
        worker.client.unwrap(blob, CONTEXT, worker.key_arn)
    assert worker.client.handshakes == 1
