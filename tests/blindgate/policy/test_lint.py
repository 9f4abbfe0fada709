"""One policy a fault, with the rule that finds it, and nothing else found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blindgate.policy.lint import RULES, Severity, lint
from blindgate.policy.writer import write_policy
from tests.kms_fixtures import (
    ACCOUNT,
    ACCOUNT_ROOT,
    ADMIN,
    CLIENT,
    PARENT,
    measurements,
    pcr_set,
)

IMAGE = "kms:RecipientAttestation:ImageSha384"
BLUE, GREEN = (
    {
        IMAGE: pcrs[0].hex(),
        "kms:RecipientAttestation:PCR1": pcrs[1].hex(),
        "kms:RecipientAttestation:PCR2": pcrs[2].hex(),
    }
    for pcrs in (measurements("blue"), measurements("green"))
)
WRITTEN = write_policy(pcr_sets=[pcr_set("blue")], roles=[PARENT], admins=[ADMIN], owners=[CLIENT])


def opens(condition: Any, **changes: Any) -> dict[str, Any]:
    """A written policy, its opening statement replaced."""
    statement = {
        "Sid": "Opens",
        "Effect": "Allow",
        "Principal": {"AWS": PARENT},
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": condition,
    } | changes
    statement = {name: value for name, value in statement.items() if value is not None}
    others = [s for s in WRITTEN["Statement"] if s["Action"] != "kms:Decrypt"]
    return {"Statement": [statement, *others]}


def more(**statement: Any) -> dict[str, Any]:
    """A written policy and one statement more."""
    plain = {"Sid": "More", "Effect": "Allow", "Principal": {"AWS": CLIENT}, "Resource": "*"}
    whole = {name: value for name, value in (plain | statement).items() if value is not None}
    return {"Statement": [*WRITTEN["Statement"], whole]}


def codes(policy: dict[str, Any]) -> list[str]:
    return sorted({finding.code for finding in lint(json.dumps(policy))})


FULL = {"StringEquals": BLUE}
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/blindgate-parent/i-0123"
FEDERATED = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
PUT = "kms:PutKeyPolicy"


def denies(**changes: Any) -> dict[str, Any]:
    """A policy whose only second line of defence is this Deny."""
    denial = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "kms:Decrypt",
        "Resource": "*",
    } | changes
    denial = {name: value for name, value in denial.items() if value is not None}
    return {"Statement": [opens(FULL)["Statement"][0], denial]}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (WRITTEN, []),
        (opens(FULL), []),
        (opens({"StringEqualsIgnoreCase": {k: v.upper() for k, v in BLUE.items()}}), []),
        # No attestation at all, in all the ways to say Decrypt.
        (opens(None), ["BP101"]),
        (opens({"StringEquals": {"kms:EncryptionContext:a": "b"}}), ["BP101"]),
        (more(Action="kms:*"), ["BP101", "BP104", "BP107", "BP112"]),
        (more(Action=["kms:Re*"]), ["BP101", "BP107"]),
        (more(Action=["kms:decrypt"]), ["BP101"]),
        (more(NotAction=["kms:Decrypt"]), ["BP101", "BP104", "BP107", "BP112"]),
        # The account.
        (more(Action="kms:Decrypt", Principal={"AWS": ACCOUNT_ROOT}), ["BP101", "BP102"]),
        (more(Action="kms:Decrypt", Principal={"AWS": ACCOUNT}), ["BP101", "BP102"]),
        (
            more(Action="*", Principal={"AWS": ACCOUNT_ROOT}),
            ["BP101", "BP102", "BP104", "BP107"],
        ),
        (more(Action=PUT, Principal={"AWS": ACCOUNT_ROOT}), ["BP102"]),
        (more(Action="kms:Put*", Principal={"AWS": "999999999999"}), ["BP102"]),
        (more(Action=PUT, Principal={"AWS": "arn:aws-us-gov:iam::999999999999:root"}), ["BP102"]),
        (more(Action=PUT, Principal={"AWS": [ADMIN, ACCOUNT_ROOT]}), ["BP102"]),
        (more(Action="kms:CreateGrant", Principal={"AWS": ACCOUNT_ROOT}), ["BP102", "BP104"]),
        # Names that anybody, or nobody, can read.
        (more(Action=PUT, Principal={"AWS": FEDERATED}), ["BP115"]),
        (more(Action="kms:CreateGrant", Principal={"AWS": FEDERATED}), ["BP104", "BP115"]),
        (more(Action="kms:DescribeKey", Principal={"AWS": FEDERATED}), []),
        (more(Action="kms:DescribeKey", Principal={"AWS": "AROA3XFRBF535PLBIFPI4"}), ["BP116"]),
        (opens(FULL, Principal={"AWS": [PARENT, "AIDA3XFRBF535PLBIFPI4"]}), ["BP116"]),
        (more(Action=PUT, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:group/all"}), ["BP116"]),
        (more(Action="kms:DescribeKey", Principal={"AWS": ACCOUNT_ROOT}), []),
        # Zero PCRs: debug mode.
        (opens({"StringEquals": BLUE | {IMAGE: "0" * 96}}), ["BP103"]),
        (opens({"StringEquals": BLUE | {IMAGE: [BLUE[IMAGE], "0" * 96]}}), ["BP103"]),
        # Handing permissions on.
        (more(Action="kms:CreateGrant"), ["BP104"]),
        (more(Action="kms:Create*"), ["BP104"]),
        (more(Action="kms:ReplicateKey"), ["BP107"]),
        # Whom it names.
        (opens(FULL, Principal="*"), ["BP105"]),
        (opens(FULL, Principal={"AWS": "*"}), ["BP105"]),
        (opens(FULL, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}), ["BP105"]),
        (opens(FULL, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/blindgate?"}), ["BP105"]),
        (more(Action=PUT, Principal={"Service": "*"}), ["BP105"]),
        (more(Action=PUT, Principal=None, NotPrincipal={"AWS": PARENT}), ["BP105"]),
        (opens(FULL, Principal=None, NotPrincipal={"AWS": CLIENT}), ["BP105"]),
        # An attestation that does not say which image.
        (opens({"StringEquals": {"kms:RecipientAttestation:PCR8": "ab" * 48}}), ["BP106"]),
        (opens({"StringEquals": {"kms:RecipientAttestation:PCR3": "ab" * 48}}), ["BP106"]),
        (opens({"Null": {IMAGE: "false"}}), ["BP106", "BP114"]),
        # Conditions that are true of nothing.
        (opens({"StringEqualsIfExists": BLUE}), ["BP108"]),
        (opens({"ForAllValues:StringEquals": BLUE}), ["BP108"]),
        (opens({"StringNotEquals": {IMAGE: "0" * 96}}), ["BP106", "BP108", "BP114"]),
        (opens({"Null": {IMAGE: "true"}}), ["BP106", "BP108", "BP114"]),
        # Images that nobody built.
        (opens({"StringEquals": {k: [v, GREEN[k]] for k, v in BLUE.items()}}), ["BP109"]),
        # Values that are no measurement, or any.
        (opens({"StringEquals": BLUE | {IMAGE: "ab"}}), ["BP110"]),
        (opens({"StringEquals": BLUE | {IMAGE: BLUE[IMAGE].upper()}}), ["BP110"]),
        (opens({"StringLike": BLUE | {IMAGE: "*"}}), ["BP111"]),
        (opens({"StringLike": BLUE | {IMAGE: BLUE[IMAGE][:95] + "?"}}), ["BP111"]),
        # A Deny by pattern opens nothing.
        (more(Effect="Deny", Action="kms:Decrypt", Condition={"StringLike": {IMAGE: "0*"}}), []),
        (opens({"StringEquals": {IMAGE: BLUE[IMAGE]}}), ["BP114"]),
        # A condition on what opens nothing, or in a Deny, is nobody's fault.
        *(
            (more(Effect=effect, Action=action, Condition=condition), [])
            for effect, action in [("Allow", "kms:DescribeKey"), ("Deny", "kms:Decrypt")]
            for condition in (
                {"StringEquals": {k: [v, GREEN[k]] for k, v in BLUE.items()}},
                {"StringEqualsIfExists": BLUE},
                {"ForAllValues:StringEquals": BLUE},
                {"StringEquals": {IMAGE: BLUE[IMAGE]}},
                {"StringEquals": {"kms:RecipientAttestation:PCR8": "ab" * 48}},
            )
        ),
        (
            more(
                Effect="Deny",
                Action="kms:*",
                Principal="*",
                Condition={"StringEquals": {IMAGE: "0" * 96}},
            ),
            [],
        ),
        # Several values of one PCR match no image that was not listed.
        (opens({"StringEquals": BLUE | {IMAGE: [BLUE[IMAGE], GREEN[IMAGE]]}}), []),
        # Whole policies.
        (more(Action=PUT, Principal={"AWS": PARENT}), ["BP112"]),
        (more(Action=PUT, Principal={"AWS": SESSION}), ["BP112"]),
        (opens(FULL, Principal={"AWS": SESSION}), []),
        (
            {
                "Statement": [
                    *opens(FULL, Principal={"AWS": SESSION})["Statement"],
                    more(Action=PUT, Principal={"AWS": PARENT})["Statement"][-1],
                ]
            },
            ["BP112"],
        ),
        (more(Action=PUT, Principal={"AWS": SESSION.replace("parent", "other")}), []),
        (more(Action=PUT, Principal={"AWS": PARENT.replace(ACCOUNT, "999999999999")}), []),
        (more(Action=PUT, Principal={"AWS": PARENT.replace(":role/", ":user/")}), []),
        # A Deny is a second line only if it applies to everybody and to this key.
        (denies(), []),
        (denies(Principal={"AWS": [CLIENT, "*"]}), []),
        (denies(Principal={"AWS": PARENT}), ["BP113"]),
        (denies(Principal=None, NotPrincipal="*"), ["BP113"]),
        (denies(Principal=None, NotPrincipal={"AWS": PARENT}), ["BP113"]),
        (denies(Resource=None, NotResource="arn:aws:kms:us-east-1:111122223333:key/x"), ["BP113"]),
        (denies(Resource="arn:aws:kms:us-east-1:111122223333:key/another"), ["BP113"]),
        (denies(Action=None, NotAction="kms:DescribeKey"), []),
        (denies(Action=None, NotAction="kms:Decrypt"), ["BP113"]),
        (denies(Action="kms:Encrypt"), ["BP113"]),
        ({"Statement": [s for s in WRITTEN["Statement"] if s["Effect"] == "Allow"]}, ["BP113"]),
    ],
)
def test_a_fault_is_found(policy: dict[str, Any], expected: list[str]) -> None:
    assert codes(policy) == expected


def test_what_aws_gives_a_key_without_a_policy_is_found_to_be_open() -> None:
    default = {
        "Statement": {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": ACCOUNT_ROOT},
            "Action": "kms:*",
            "Resource": "*",
        }
    }
    assert {"BP101", "BP102", "BP104", "BP113"} <= set(codes(default))


def test_a_finding_says_where_and_what_to_do() -> None:
    (finding,) = lint(json.dumps(opens(None)))
    assert finding.place == "Statement[0] (Opens)"
    assert finding.severity is Severity.ERROR
    assert "kms:Decrypt" in finding.message
    assert "StringEquals" in finding.fix


def test_codes_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (None, True),
        ({"Null": {IMAGE: "true"}}, True),
        ({"Null": {IMAGE: "false"}}, False),
        ({"StringNotEquals": {IMAGE: BLUE[IMAGE]}}, True),
        ({"StringNotEqualsIgnoreCase": {IMAGE: BLUE[IMAGE].upper()}}, True),
        ({"StringEqualsIgnoreCase": {IMAGE: BLUE[IMAGE]}}, False),
        ({"StringNotEquals": {"kms:RecipientAttestation:PCR8": BLUE[IMAGE]}}, False),
        ({"ForAnyValue:StringNotEquals": {IMAGE: BLUE[IMAGE]}}, False),
        ({"Null": {IMAGE: "true"}, "StringEquals": {"aws:PrincipalArn": PARENT}}, False),
        ({"StringEquals": {IMAGE: BLUE[IMAGE]}}, False),
    ],
)
def test_only_a_deny_that_holds_without_a_document_counts(
    condition: dict[str, Any] | None, holds: bool
) -> None:
    denial: dict[str, Any] = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "kms:Decrypt",
        "Resource": "*",
    }
    if condition is not None:
        denial["Condition"] = condition
    policy = {"Statement": [opens(FULL)["Statement"][0], denial]}
    assert ("BP113" not in codes(policy)) is holds
