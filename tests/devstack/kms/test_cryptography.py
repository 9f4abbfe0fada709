"""Wrapping and unwrapping in plain, through boto3."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.kms.ciphertext import key_id_of, open_blob, seal
from devstack.kms.errors import KmsError
from tests.kms_fixtures import ADMIN, CLIENT

if TYPE_CHECKING:
    from tests.kms_fixtures import RunningKms

CONTEXT = {"purpose": "image", "tenant": "7"}
EVERYTHING = {
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": [ADMIN, CLIENT]}, "Action": "*", "Resource": "*"}
    ]
}


@pytest.fixture
def key(kms: RunningKms) -> str:
    return kms.create_key(EVERYTHING)


@pytest.fixture
def client(kms: RunningKms) -> Any:
    return kms.client("client")


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_what_is_encrypted_can_be_decrypted(client: Any, key: str) -> None:
    sealed = client.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext=CONTEXT)
    assert sealed["KeyId"] == key
    assert b"secret" not in sealed["CiphertextBlob"]
    opened = client.decrypt(
        CiphertextBlob=sealed["CiphertextBlob"],
        EncryptionContext=dict(reversed(CONTEXT.items())),
    )
    assert opened["Plaintext"] == b"secret"
    assert opened["KeyId"] == key
    assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert "CiphertextForRecipient" not in opened


def test_a_blob_begins_as_kms_s_do(client: Any, key: str) -> None:
    blob = client.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert blob.startswith(bytes.fromhex("0102020078"))


@pytest.mark.parametrize(
    "context", [{}, {"purpose": "image"}, CONTEXT | {"tenant": "8"}, CONTEXT | {"more": "1"}]
)
def test_another_encryption_context_is_refused(
    client: Any, key: str, context: dict[str, str]
) -> None:
    blob = client.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    with pytest.raises(ClientError) as error:
        client.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert refused(error) == "InvalidCiphertextException"


def test_another_key_than_the_ciphertext_s_is_refused(
    kms: RunningKms, client: Any, key: str
) -> None:
    blob = client.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    other = kms.create_key(EVERYTHING)
    with pytest.raises(ClientError, match="does not identify a CMK") as error:
        client.decrypt(CiphertextBlob=blob, KeyId=other)
    assert refused(error) == "IncorrectKeyException"


def test_a_ciphertext_of_an_unknown_key_does_not_tell_why(client: Any) -> None:
    blob = seal("3f1a9f6e-6f0c-4a53-9d0e-1f6a6f2f2d11", bytes(32), b"x", {})
    with pytest.raises(ClientError, match="does not exist in this region, or you") as error:
        client.decrypt(CiphertextBlob=blob)
    assert refused(error) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("options", "size"),
    [({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 64}, 64)],
)
def test_a_data_key_comes_in_plain_and_wrapped(
    client: Any, key: str, options: dict[str, Any], size: int
) -> None:
    made = client.generate_data_key(KeyId=key, EncryptionContext=CONTEXT, **options)
    assert len(made["Plaintext"]) == size
    opened = client.decrypt(
        CiphertextBlob=made["CiphertextBlob"], KeyId=key, EncryptionContext=CONTEXT
    )
    assert opened["Plaintext"] == made["Plaintext"]
    assert opened["KeyMaterialId"] == made["KeyMaterialId"]


@pytest.mark.parametrize("options", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_a_data_key_has_one_size(client: Any, key: str, options: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="either number of bytes or key spec"):
        client.generate_data_key(KeyId=key, **options)


def test_a_data_key_can_come_wrapped_only(client: Any, key: str) -> None:
    made = client.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
    assert "Plaintext" not in made
    assert len(client.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 32


def test_a_dry_run_does_nothing(client: Any, key: str) -> None:
    with pytest.raises(ClientError, match="DryRunOperationException"):
        client.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)


def test_requests_at_once_do_not_disturb_each_other(kms: RunningKms) -> None:
    client = kms.client("admin")

    def round_trip(number: int) -> bool:
        key = kms.create_key(EVERYTHING)
        client.create_alias(AliasName=f"alias/at-once-{number}", TargetKeyId=key)
        blob = client.encrypt(KeyId=f"alias/at-once-{number}", Plaintext=b"%d" % number)
        opened = client.decrypt(CiphertextBlob=blob["CiphertextBlob"])
        return bool(opened["Plaintext"] == b"%d" % number and opened["KeyId"] == key)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(16)))


KEY_ID = "3f1a9f6e-6f0c-4a53-9d0e-1f6a6f2f2d11"
BLOB = seal(KEY_ID, bytes(32), b"plaintext", CONTEXT)


def test_every_changed_byte_of_a_blob_is_noticed() -> None:
    for position in range(len(BLOB)):
        changed = bytearray(BLOB)
        changed[position] ^= 1
        try:
            if key_id_of(bytes(changed)) != KEY_ID:
                continue  # another key's blob now
            with pytest.raises(KmsError):
                open_blob(bytes(32), bytes(changed), CONTEXT)
        except KmsError:
            continue


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_are_refused_or_name_a_key(blob: bytes) -> None:
    with pytest.raises(KmsError) as refusal:
        open_blob(bytes(32), seal(KEY_ID, bytes(32), b"x", {}) + blob + b"x", {})
    assert refusal.value.name == "InvalidCiphertextException"
    with contextlib.suppress(KmsError):
        key_id_of(blob)


@given(st.binary(min_size=1, max_size=300), st.dictionaries(st.text(), st.text(), max_size=4))
@settings(max_examples=50)
def test_seal_and_open_agree(plaintext: bytes, context: dict[str, str]) -> None:
    blob = seal(KEY_ID, bytes(32), plaintext, context)
    assert key_id_of(blob) == KEY_ID
    assert open_blob(bytes(32), blob, context) == plaintext
