"""Each fault that the linter names is a way to the data, tried on the dev KMS.

For every rule there is a policy with the fault and an attack. Under the faulty policy the attack
gets the data key in plain, or into an enclave of the attacker's; under the policy that `writer`
makes, the same attack by the same principal with the same documents is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from blindgate.policy.lint import lint
from blindgate.policy.writer import write_policy
from tests.kms_fixtures import (
    ACCOUNT_ROOT,
    ADMIN,
    CLIENT,
    PARENT,
    Enclave,
    Enclaves,
    RunningKms,
    measurements,
    pcr_set,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = b"the data key of a photo"
IMAGE = "kms:RecipientAttestation:ImageSha384"
WRITTEN = write_policy(
    pcr_sets=[pcr_set("blue"), pcr_set("green")], roles=[PARENT], admins=[ADMIN], owners=[CLIENT]
)
ADMINISTRATION, WRAPPING = WRITTEN["Statement"][0], WRITTEN["Statement"][1]
SIGNED = measurements("blue", signer="us")


def pins(image: str = "blue") -> dict[str, str]:
    """What an opening statement should require."""
    pcrs = measurements(image)
    return {
        IMAGE: pcrs[0].hex(),
        "kms:RecipientAttestation:PCR1": pcrs[1].hex(),
        "kms:RecipientAttestation:PCR2": pcrs[2].hex(),
    }


def opening(condition: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """An Allow of Decrypt for the parent's role."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": PARENT},
        "Action": "kms:Decrypt",
        "Resource": "*",
    }
    return statement | ({"Condition": condition} if condition else {}) | changes


GOOD_OPENING = opening({"StringEquals": pins()})


def faulty(*statements: dict[str, Any]) -> dict[str, Any]:
    """A policy without any second line of defence."""
    return {"Version": "2012-10-17", "Statement": [ADMINISTRATION, WRAPPING, *statements]}


@dataclass
class Scene:
    """A key under a policy, a wrapped data key, and the means of an attacker."""

    kms: RunningKms
    enclaves: Enclaves
    key: str
    blob: bytes

    def in_plain(self, name: str = "parent") -> bytes:
        """Decrypt without a document."""
        return bytes(self.kms.client(name).decrypt(CiphertextBlob=self.blob)["Plaintext"])

    def in_an_enclave(self, enclave: Enclave, name: str = "parent") -> bytes:
        """Decrypt with a genuine document of some enclave."""
        answer = self.kms.client(name).decrypt(
            CiphertextBlob=self.blob, Recipient=enclave.recipient()
        )
        assert not answer.get("Plaintext")
        return enclave.open(answer["CiphertextForRecipient"])


@pytest.fixture
def scene(kms: RunningKms, enclaves: Enclaves) -> Callable[[dict[str, Any]], Scene]:
    def make(policy: dict[str, Any]) -> Scene:
        key = kms.create_key(policy)
        blob = kms.client("client").encrypt(KeyId=key, Plaintext=SECRET)["CiphertextBlob"]
        return Scene(kms, enclaves, key, blob)

    return make


def parent_decrypts(scene: Scene) -> bytes:
    return scene.in_plain("parent")


def identity_policy_is_used(scene: Scene) -> bytes:
    return scene.in_plain("mighty")


def stranger_with_a_document(scene: Scene) -> bytes:
    return scene.in_an_enclave(scene.enclaves.boot("blue"), "stranger")


def debug_mode_enclave(scene: Scene) -> bytes:
    return scene.in_an_enclave(scene.enclaves.boot("anything", debug=True))


def other_image_of_the_same_signer(scene: Scene) -> bytes:
    return scene.in_an_enclave(scene.enclaves.boot("leaks everything", signer="us"))


def any_image(scene: Scene) -> bytes:
    return scene.in_an_enclave(scene.enclaves.boot("leaks everything"))


def parent_grants_to_himself(scene: Scene) -> bytes:
    scene.kms.client("parent").create_grant(
        KeyId=scene.key, GranteePrincipal=PARENT, Operations=["Decrypt"]
    )
    return scene.in_plain("parent")


def parent_replaces_the_policy(scene: Scene) -> bytes:
    scene.kms.client("parent").put_key_policy(
        KeyId=scene.key,
        Policy=json.dumps(faulty(opening(None, Action="kms:*"))),
    )
    return scene.in_plain("parent")


def image_that_mixes_two(scene: Scene) -> bytes:
    mixed = measurements("green") | {0: measurements("blue")[0]}
    enclave = scene.enclaves.boot_measured(mixed)
    return scene.in_an_enclave(enclave)


@pytest.mark.parametrize(
    ("code", "attack", "statements"),
    [
        pytest.param(code, attack, statements, id=f"{code}-{attack.__name__}")
        for code, attack, statements in [
            ("BP101", parent_decrypts, [opening(None)]),
            ("BP101", parent_decrypts, [GOOD_OPENING, opening(None, Action="kms:*")]),
            (
                "BP102",
                identity_policy_is_used,
                [GOOD_OPENING, opening(None, Principal={"AWS": ACCOUNT_ROOT}, Action="kms:*")],
            ),
            ("BP103", debug_mode_enclave, [opening({"StringEquals": {IMAGE: "0" * 96}})]),
            (
                "BP104",
                parent_grants_to_himself,
                [GOOD_OPENING, opening(None, Action="kms:CreateGrant")],
            ),
            ("BP105", stranger_with_a_document, [{**GOOD_OPENING, "Principal": "*"}]),
            ("BP105", stranger_with_a_document, [{**GOOD_OPENING, "Principal": {"AWS": "*"}}]),
            (
                "BP106",
                other_image_of_the_same_signer,
                [opening({"StringEquals": {"kms:RecipientAttestation:PCR8": SIGNED[8].hex()}})],
            ),
            ("BP106", any_image, [opening({"Null": {IMAGE: "false"}})]),
            ("BP108", parent_decrypts, [opening({"StringEqualsIfExists": pins()})]),
            ("BP108", parent_decrypts, [opening({"ForAllValues:StringEquals": pins()})]),
            ("BP108", parent_decrypts, [opening({"StringNotEquals": {IMAGE: "0" * 96}})]),
            (
                "BP109",
                image_that_mixes_two,
                [opening({"StringEquals": {k: [v, pins("green")[k]] for k, v in pins().items()}})],
            ),
            ("BP111", any_image, [opening({"StringLike": {IMAGE: "*"}})]),
            (
                "BP112",
                parent_replaces_the_policy,
                [GOOD_OPENING, opening(None, Action="kms:PutKeyPolicy")],
            ),
            # No Deny (BP113) lets the next careless Allow through.
            ("BP113", parent_decrypts, [GOOD_OPENING, opening(None)]),
        ]
    ],
)
def test_the_attack_works_under_the_fault_and_fails_under_the_written_policy(
    scene: Callable[[dict[str, Any]], Scene],
    code: str,
    attack: Callable[[Scene], bytes],
    statements: list[dict[str, Any]],
) -> None:
    policy = faulty(*statements)
    assert code in {finding.code for finding in lint(json.dumps(policy))}
    assert attack(scene(policy)) == SECRET

    with pytest.raises(ClientError, match="AccessDeniedException"):
        attack(scene(WRITTEN))


@pytest.mark.parametrize(
    ("name", "image", "allowed"),
    [
        ("parent", "blue", True),
        ("parent", "green", True),
        ("parent", "red", False),
        ("parent", None, False),
        ("client", "blue", False),
        ("client", None, False),
        ("admin", "blue", False),
        ("admin", None, False),
        ("stranger", "blue", False),
        ("mighty", "blue", False),
        ("mighty", None, False),
    ],
)
def test_who_opens_under_the_written_policy(
    scene: Callable[[dict[str, Any]], Scene],
    enclaves: Enclaves,
    name: str,
    image: str | None,
    allowed: bool,
) -> None:
    here = scene(WRITTEN)

    def attempt() -> bytes:
        if image is None:
            return here.in_plain(name)
        return here.in_an_enclave(enclaves.boot(image), name)

    if allowed:
        assert attempt() == SECRET
    else:
        with pytest.raises(ClientError, match="AccessDeniedException"):
            attempt()


@pytest.mark.parametrize(
    "careless",
    [
        opening(None),
        opening(None, Principal="*", Action="kms:*"),
        opening(None, Principal={"AWS": ACCOUNT_ROOT}, Action="kms:*"),
    ],
)
@pytest.mark.parametrize("attack", [parent_decrypts, identity_policy_is_used, any_image])
def test_the_written_denies_outlast_a_careless_allow(
    scene: Callable[[dict[str, Any]], Scene],
    careless: dict[str, Any],
    attack: Callable[[Scene], bytes],
) -> None:
    spoiled = {**WRITTEN, "Statement": [*WRITTEN["Statement"], careless]}
    with pytest.raises(ClientError, match="explicit deny in a resource-based policy"):
        attack(scene(spoiled))


def test_a_grant_made_before_the_policy_changed_opens_nothing(
    scene: Callable[[dict[str, Any]], Scene],
) -> None:
    here = scene(faulty(GOOD_OPENING, opening(None, Action="kms:CreateGrant")))
    assert parent_grants_to_himself(here) == SECRET
    here.kms.client("admin").put_key_policy(KeyId=here.key, Policy=json.dumps(WRITTEN))
    with pytest.raises(ClientError, match="explicit deny"):
        here.in_plain("parent")


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("create_grant", {"GranteePrincipal": PARENT, "Operations": ["Decrypt"]}),
        ("encrypt", {"Plaintext": b"x"}),
        ("generate_data_key", {"KeySpec": "AES_256"}),
    ],
)
def test_administrators_manage_and_do_not_use(
    scene: Callable[[dict[str, Any]], Scene], operation: str, options: dict[str, Any]
) -> None:
    here = scene(WRITTEN)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        getattr(here.kms.client("admin"), operation)(KeyId=here.key, **options)
    here.kms.client("admin").disable_key(KeyId=here.key)
    here.kms.client("admin").enable_key(KeyId=here.key)


def test_data_owners_find_the_key_and_wrap(scene: Callable[[dict[str, Any]], Scene]) -> None:
    here = scene(WRITTEN)
    client = here.kms.client("client")
    assert client.describe_key(KeyId=here.key)["KeyMetadata"]["Arn"] == here.key
    assert len(client.generate_data_key(KeyId=here.key, KeySpec="AES_256")["Plaintext"]) == 32
    client.generate_data_key_without_plaintext(KeyId=here.key, KeySpec="AES_256")


def test_an_encryption_context_that_is_required_is_required_on_both_sides(
    kms: RunningKms, enclaves: Enclaves
) -> None:
    context = {"purpose": "image"}
    policy = write_policy(
        pcr_sets=[pcr_set("blue")],
        roles=[PARENT],
        admins=[ADMIN],
        owners=[CLIENT],
        encryption_context=context,
    )
    key = kms.create_key(policy)
    client, parent = kms.client("client"), kms.client("parent")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.encrypt(KeyId=key, Plaintext=SECRET)
    blob = client.encrypt(KeyId=key, Plaintext=SECRET, EncryptionContext=context)["CiphertextBlob"]
    enclave = enclaves.boot("blue")
    for wrong in ({}, {"purpose": "fleet key"}):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            parent.decrypt(
                CiphertextBlob=blob, EncryptionContext=wrong, Recipient=enclave.recipient()
            )
    answer = parent.decrypt(
        CiphertextBlob=blob, EncryptionContext=context, Recipient=enclave.recipient()
    )
    assert enclave.open(answer["CiphertextForRecipient"]) == SECRET
