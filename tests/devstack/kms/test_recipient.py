"""Attested requests: whose documents are believed, and what the answer looks like."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blindgate.attestation import AWS_NITRO_ROOT, Root
from blindgate.policy.writer import write_policy
from devstack.kms.errors import KmsError
from devstack.kms.recipient import Recipient, verify_recipient
from devstack.nsm import DevRoot
from tests.kms_fixtures import ADMIN, CLIENT, PARENT, Enclaves, measurements, pcr_set, recipient
from tests.vectors import places

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kms_fixtures import RunningKms

CONTEXT = {"purpose": "image"}


@pytest.fixture(scope="module")
def key(kms: RunningKms) -> str:
    policy = write_policy(
        pcr_sets=[pcr_set("blue")],
        roles=[PARENT],
        admins=[ADMIN],
        owners=[CLIENT],
        encryption_context=CONTEXT,
    )
    return kms.create_key(policy)


@pytest.fixture(scope="module")
def blob(kms: RunningKms, key: str) -> bytes:
    answer = kms.client("client").encrypt(
        KeyId=key, Plaintext=b"data key", EncryptionContext=CONTEXT
    )
    return bytes(answer["CiphertextBlob"])


class Opening:
    """Decrypt as the enclave does, with the parent's credentials."""

    def __init__(self, kms: RunningKms, blob: bytes, key: str) -> None:
        self.kms, self.blob, self.key = kms, blob, key

    def __call__(self, given: dict[str, Any] | None, name: str = "parent") -> Any:
        options = {} if given is None else {"Recipient": given}
        return self.kms.client(name).decrypt(
            CiphertextBlob=self.blob, KeyId=self.key, EncryptionContext=CONTEXT, **options
        )


@pytest.fixture
def opening(kms: RunningKms, blob: bytes, key: str) -> Opening:
    return Opening(kms, blob, key)


def test_the_measured_enclave_and_only_it_gets_the_key(
    opening: Opening, enclaves: Enclaves, key: str
) -> None:
    enclave = enclaves.boot("blue")
    answer = opening(enclave.recipient())
    assert enclave.open(answer["CiphertextForRecipient"]) == b"data key"
    assert not answer.get("Plaintext")
    assert answer["KeyId"] == key


def test_without_a_document_the_parent_gets_nothing(opening: Opening, key: str) -> None:
    with pytest.raises(ClientError) as error:
        opening(None)
    answer = error.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "AccessDeniedException"
    assert answer["Error"]["Message"] == (
        "User: arn:aws:sts::111122223333:assumed-role/blindgate-parent/i-0123 is not authorized "
        f"to perform: kms:Decrypt on resource: {key} with an explicit deny in a resource-based "
        "policy"
    )


def test_an_enclave_with_another_image_gets_nothing(opening: Opening, enclaves: Enclaves) -> None:
    with pytest.raises(ClientError, match="AccessDeniedException"):
        opening(enclaves.boot("green").recipient())


def test_an_enclave_in_debug_mode_gets_nothing(opening: Opening, enclaves: Enclaves) -> None:
    with pytest.raises(ClientError, match="AccessDeniedException"):
        opening(enclaves.boot("blue", debug=True).recipient())


@pytest.mark.parametrize("name", ["client", "admin", "stranger", "mighty"])
def test_a_document_helps_nobody_but_the_role(
    opening: Opening, enclaves: Enclaves, name: str
) -> None:
    with pytest.raises(ClientError, match="AccessDeniedException"):
        opening(enclaves.boot("blue").recipient(), name)


def test_a_document_under_another_root_is_refused(opening: Opening) -> None:
    forged = Enclaves(DevRoot.generate()).boot("blue")
    with pytest.raises(ClientError, match=r"ValidationException.*attestation document"):
        opening(forged.recipient())


def test_a_document_older_than_five_minutes_is_refused(
    opening: Opening, enclaves: Enclaves
) -> None:
    old = enclaves.boot("blue", age=timedelta(minutes=5, seconds=5))
    with pytest.raises(ClientError, match=r"ValidationException.*old"):
        opening(old.recipient())


def test_a_document_of_four_minutes_is_accepted(opening: Opening, enclaves: Enclaves) -> None:
    enclave = enclaves.boot("blue", age=timedelta(minutes=4))
    assert enclave.open(opening(enclave.recipient())["CiphertextForRecipient"]) == b"data key"


def test_a_changed_document_is_refused(opening: Opening, enclaves: Enclaves) -> None:
    document = bytearray(enclaves.boot("blue").document())
    document[-1] ^= 1
    with pytest.raises(ClientError, match="ValidationException"):
        opening(recipient(bytes(document)))


def _spki_of_size(bits: int) -> bytes:
    """An RSA key of a size that would take long to make; its modulus is just a number."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << bits) - 1)
    return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("bits", [2048, 4096])
def test_the_smallest_and_the_largest_key_are_taken(bits: int) -> None:
    root = DevRoot.generate()
    document = Enclaves(root).boot("blue").document(_spki_of_size(bits))
    found = verify_recipient(document, root=Root.from_pem(root.pem), now=datetime.now(UTC))
    assert found.public_key.key_size == bits


def _spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "public_key",
    [
        None,
        b"not a key",
        _spki(ec.generate_private_key(ec.SECP256R1())),
        _spki(rsa.generate_private_key(65537, 1024)),
        _spki(rsa.generate_private_key(65537, 2040)),
        _spki_of_size(4104),
    ],
    ids=["absent", "garbage", "elliptic curve", "RSA-1024", "RSA-2040", "RSA-4104"],
)
def test_a_document_without_a_good_rsa_key_is_refused(
    opening: Opening, enclaves: Enclaves, public_key: bytes | None
) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*public key"):
        opening(recipient(enclaves.boot("blue").document(public_key)))


def test_another_key_encryption_algorithm_is_refused(opening: Opening, enclaves: Enclaves) -> None:
    given = enclaves.boot("blue").recipient() | {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    with pytest.raises(ClientError, match=r"keyEncryptionAlgorithm.*enum value set"):
        opening(given)


def test_debug_mode_is_refused_by_policy_and_not_by_kms(
    kms: RunningKms, enclaves: Enclaves
) -> None:
    policy = {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": PARENT},
            "Action": "kms:GenerateDataKey",
            "Resource": "*",
            "Condition": {
                "StringEquals": {"kms:RecipientAttestation:ImageSha384": bytes(48).hex()}
            },
        }
    }
    key = kms.create_key(policy)
    enclave = enclaves.boot(debug=True)
    made = kms.client("parent").generate_data_key(
        KeyId=key, KeySpec="AES_256", Recipient=enclave.recipient()
    )
    assert len(enclave.open(made["CiphertextForRecipient"])) == 32


def test_data_keys_and_randomness_come_for_the_recipient_only(
    kms: RunningKms, enclaves: Enclaves
) -> None:
    enclave = enclaves.boot("blue")
    mighty = kms.client("mighty")
    key = kms.create_key()
    made = mighty.generate_data_key(KeyId=key, NumberOfBytes=1024, Recipient=enclave.recipient())
    assert not made.get("Plaintext")
    wrapped = enclave.open(made["CiphertextForRecipient"])
    assert mighty.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == wrapped
    some = mighty.generate_random(NumberOfBytes=48, Recipient=enclave.recipient())
    assert not some.get("Plaintext")
    assert len(enclave.open(some["CiphertextForRecipient"])) == 48


def test_every_pcr_can_be_a_condition(kms: RunningKms, enclaves: Enclaves) -> None:
    pcrs = measurements("blue", signer="us")
    enclave = enclaves.boot("blue", signer="us")
    for index, value in pcrs.items():
        policy = {
            "Statement": {
                "Effect": "Allow",
                "Principal": {"AWS": PARENT},
                "Action": "kms:GenerateDataKey",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {f"kms:RecipientAttestation:PCR{index}": value.hex()}
                },
            }
        }
        key = kms.create_key(policy)
        options = {"KeyId": key, "KeySpec": "AES_256"}
        kms.client("parent").generate_data_key(**options, Recipient=enclave.recipient())
        other = enclaves.boot("green", signer="them").recipient()
        with pytest.raises(ClientError, match="no resource-based policy allows"):
            kms.client("parent").generate_data_key(**options, Recipient=other)


def test_real_documents_are_refused_for_their_age_and_not_for_their_root() -> None:
    found = places.find_all("attestation/*.bin")
    assert len(found) >= 7
    for path in found:
        with pytest.raises(KmsError) as refusal:
            verify_recipient(path.read_bytes(), root=AWS_NITRO_ROOT, now=datetime.now(UTC))
        by_age = "expired" in str(refusal.value) or "old" in str(refusal.value)
        assert by_age != ("NONAWSROOT" in path.name), refusal.value


def test_a_real_document_with_an_rsa_key_is_believed_at_its_own_time(
    vector: Callable[[str], Path],
) -> None:
    path = vector("attestation/2025-04-04-tee-verifier-879688b3.bin")
    about = json.loads(path.with_suffix(".json").read_text())
    then = datetime.fromtimestamp(about["timestamp_ms"] / 1000, UTC)
    verified = verify_recipient(path.read_bytes(), root=AWS_NITRO_ROOT, now=then)
    assert verified.public_key.key_size == 2048
    image = verified.pcrs[0].hex()
    assert verified.context()["kms:recipientattestation:imagesha384"] == (image,)


def test_the_condition_keys_are_those_of_the_pcrs_that_a_document_has() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    assert Recipient(key, {0: b"\x01" * 48, 8: b"\x02" * 48}).context() == {
        "kms:recipientattestation:imagesha384": ("01" * 48,),
        "kms:recipientattestation:pcr0": ("01" * 48,),
        "kms:recipientattestation:pcr8": ("02" * 48,),
    }
    assert Recipient(key, {3: b"\x03" * 48}).context() == {
        "kms:recipientattestation:pcr3": ("03" * 48,)
    }
