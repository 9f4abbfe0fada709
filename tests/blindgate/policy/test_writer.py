"""What is written, and what is not written for anybody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blindgate.attestation import PcrSet
from blindgate.policy.document import MAX_KEY_POLICY_BYTES
from blindgate.policy.errors import UnsafePolicyError
from blindgate.policy.lint import lint
from blindgate.policy.writer import write_policy
from tests.kms_fixtures import ACCOUNT_ROOT, ADMIN, CLIENT, PARENT, measurements, pcr_set

WANTED: dict[str, Any] = {
    "pcr_sets": [pcr_set("blue")],
    "roles": [PARENT],
    "admins": [ADMIN],
    "owners": [CLIENT],
}


def test_each_image_has_a_statement_of_its_own() -> None:
    sets = [pcr_set("blue"), pcr_set("green-2.json"), pcr_set("green 2")]
    policy = write_policy(**(WANTED | {"pcr_sets": sets}))
    opening = [s for s in policy["Statement"] if s["Action"] == "kms:Decrypt"]
    assert [s["Sid"] for s in opening] == [
        "EnclaveOpensBlue",
        "EnclaveOpensGreen2",
        "EnclaveOpensGreen23",
    ]
    for statement, each in zip(opening, sets, strict=True):
        assert statement["Condition"] == {
            "StringEqualsIgnoreCase": {
                "kms:RecipientAttestation:ImageSha384": each.values[0].hex(),
                "kms:RecipientAttestation:PCR1": each.values[1].hex(),
                "kms:RecipientAttestation:PCR2": each.values[2].hex(),
            }
        }


def test_further_pcrs_of_a_set_are_required_too() -> None:
    signed = PcrSet("signed", measurements("blue", signer="us"))
    policy = write_policy(**(WANTED | {"pcr_sets": [signed]}))
    (opening,) = [s for s in policy["Statement"] if s["Action"] == "kms:Decrypt"]
    assert signed.values[8].hex() in opening["Condition"]["StringEqualsIgnoreCase"].values()


def test_the_encryption_context_binds_both_sides() -> None:
    policy = write_policy(**WANTED, encryption_context={"purpose": "image"})
    bound = [
        s["Sid"]
        for s in policy["Statement"]
        if s.get("Condition", {}).get("StringEquals", {}).get("kms:EncryptionContext:purpose")
    ]
    assert bound == ["DataOwnersWrap", "EnclaveOpensBlue"]


def test_the_deny_of_other_images_lists_each_image_once_without_regard_to_case() -> None:
    sets = [pcr_set("blue"), PcrSet("blue again", pcr_set("blue").values), pcr_set("green")]
    policy = write_policy(**(WANTED | {"pcr_sets": sets}))
    (denial,) = [s for s in policy["Statement"] if s["Sid"] == "DenyOpeningByOtherImages"]
    images = [pcr_set(name).values[0].hex() for name in ("blue", "green")]
    assert denial["Condition"] == {
        "StringNotEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": images}
    }


@pytest.mark.parametrize("owners", [[], [CLIENT]])
@pytest.mark.parametrize("context", [{}, {"purpose": "image"}])
def test_the_linter_finds_nothing_in_it(owners: list[str], context: dict[str, str]) -> None:
    sets = [pcr_set(f"image {i}") for i in range(20)]
    wanted = WANTED | {"pcr_sets": sets, "owners": owners, "encryption_context": context}
    text = json.dumps(write_policy(**wanted))
    assert lint(text) == []
    assert len(text) < MAX_KEY_POLICY_BYTES


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pcr_sets": []}, "at least one image"),
        ({"pcr_sets": [PcrSet.debug()]}, "all zero"),
        ({"roles": []}, "at least one role"),
        ({"admins": []}, "at least one role and one administrator"),
        ({"roles": ["*"]}, "not the ARN"),
        ({"roles": ["arn:aws:iam::111122223333:role/*"]}, "not the ARN"),
        ({"admins": [ACCOUNT_ROOT]}, "not the ARN"),
        ({"owners": ["111122223333"]}, "not the ARN"),
        ({"roles": ["arn:aws:sts::111122223333:assumed-role/a/i-1"]}, "name the role"),
        ({"roles": [ADMIN]}, "both the enclave's role and an administrator"),
        (
            {"roles": [PARENT], "admins": [PARENT.replace(":role/", ":role/some/path/")]},
            "both the enclave's role and an administrator",
        ),
    ],
)
def test_a_policy_that_would_not_hold_is_not_written(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsafePolicyError, match=reason):
        write_policy(**(WANTED | changes))
