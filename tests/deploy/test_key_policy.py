"""The key policy of the Terraform module is the one that `blindgate policy` writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blindgate.attestation import PcrSet
from blindgate.policy.lint import lint
from blindgate.policy.writer import write_policy
from tests.deploy import terraform as tf

ROLE = "arn:aws:iam::111122223333:role/blindgate-instance"
ADMIN = "arn:aws:iam::111122223333:role/admin"
OWNER = "arn:aws:iam::111122223333:user/client"
Apply = Callable[..., str]


@pytest.fixture(scope="module")
def folder(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy module, which needs no provider."""
    folder = tmp_path_factory.mktemp("policy") / "policy"
    shutil.copytree(tf.SOURCES / "modules" / "kms" / "policy", folder)
    tf.Terraform(program, folder).init()
    return folder


@pytest.fixture
def apply(folder: Path, program: str) -> Apply:
    def run(code: int = 0, **variables: Any) -> str:
        values = {"roles": [ROLE], "admins": [ADMIN], **variables}
        (folder / "test.auto.tfvars.json").write_text(json.dumps(values))
        terraform = tf.Terraform(program, folder)
        printed = terraform("apply", "-auto-approve", "-no-color", "-input=false", code=code)
        return printed if code else terraform("output", "-raw", "json")

    return run


def measurements(first: str, wrapped: bool = True, **more: str) -> str:
    values = {"PCR0": first * 96, "PCR1": "b" * 96, "PCR2": "c" * 96, **more}
    return json.dumps(
        {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **values}} if wrapped else values
    )


def normal(policy: dict[str, Any]) -> dict[str, Any]:
    """One value and a list of one value mean the same in IAM."""

    def unlisted(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: unlisted(inner) for name, inner in value.items()}
        if isinstance(value, list):
            plain = [unlisted(inner) for inner in value]
            return plain[0] if len(plain) == 1 else plain
        return value

    return {**policy, "Statement": [unlisted(each) for each in policy["Statement"]]}


@pytest.mark.parametrize(
    ("sets", "owners", "context"),
    [
        ({"blue": measurements("1")}, [], {}),
        ({"blue": measurements("A")}, [OWNER], {"purpose": "blindgate"}),
        (
            {
                "blue-2026.11.json": measurements("1", PCR8="d" * 96),
                "green v2": measurements("2", wrapped=False),
            },
            [OWNER, "arn:aws:iam::111122223333:role/other"],
            {"purpose": "blindgate", "tenant": "a"},
        ),
    ],
)
def test_terraform_and_the_command_write_the_same_policy(
    apply: Apply, sets: dict[str, str], owners: list[str], context: dict[str, str]
) -> None:
    policy = json.loads(apply(pcr_sets=sets, owners=owners, encryption_context=context))
    pcr_sets = [PcrSet.from_json(text, name=name) for name, text in sorted(sets.items())]
    written = write_policy(
        pcr_sets=pcr_sets,
        roles=[ROLE],
        admins=[ADMIN],
        owners=owners,
        encryption_context=context,
    )
    assert normal(policy) == normal(written)


def test_without_images_nobody_can_open_anything(apply: Apply) -> None:
    policy = json.loads(apply())
    nobody = PcrSet("nobody", dict.fromkeys(range(3), b"\xff" * 48))
    assert normal(policy) == normal(write_policy(pcr_sets=[nobody], roles=[ROLE], admins=[ADMIN]))


def test_the_policy_has_none_of_the_holes_that_lint_knows(apply: Apply) -> None:
    policy = apply(
        pcr_sets={"blue": measurements("1"), "green": measurements("2")},
        owners=[OWNER],
        encryption_context={"purpose": "blindgate"},
    )
    assert lint(policy) == []


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"pcr_sets": {"a": measurements("0")}}, "debug mode"),
        ({"pcr_sets": {"a": '{"PCR0": "aa"}'}}, "96 hexadecimal digits"),
        ({"pcr_sets": {"a": measurements("1", PCR8="nonsense")}}, "96 hexadecimal digits"),
        ({"pcr_sets": {"a": "nonsense"}}, "96 hexadecimal digits"),
        ({"pcr_sets": {"a-1": measurements("1"), "A1": measurements("2")}}, "Names of sets"),
        ({"roles": ["*"]}, "Wildcards"),
        ({"roles": ["arn:aws:iam::111122223333:root"]}, "account root"),
        ({"roles": ["arn:aws:sts::111122223333:assumed-role/a/b"]}, "sessions"),
        ({"roles": []}, "at least one role"),
        ({"admins": []}, "at least one administrator"),
        ({"owners": ["arn:aws:iam::111122223333:role/*"]}, "Wildcards"),
        ({"roles": [ADMIN]}, "replace the policy"),
    ],
)
def test_what_the_command_refuses_terraform_refuses(
    apply: Apply, variables: dict[str, Any], reason: str
) -> None:
    printed = " ".join(apply(code=1, **variables).replace("│", " ").split())
    assert reason in printed
