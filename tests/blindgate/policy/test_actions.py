"""Which KMS actions lead to the data, and which a pattern covers."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader

from blindgate.policy import actions
from blindgate.policy.actions import covers


@pytest.mark.parametrize(
    ("patterns", "action", "covered"),
    [
        (("kms:Decrypt",), "kms:Decrypt", True),
        (("KMS:dEcRyPt",), "kms:Decrypt", True),
        (("kms:Decrypt",), "KMS:DECRYPT", True),
        (("kms:Decrypt",), "kms:DecryptX", False),
        (("kms:Decrypt*",), "kms:Decrypt", True),
        (("kms:*",), "kms:PutKeyPolicy", True),
        (("kms:Put*",), "kms:PutKeyPolicy", True),
        (("kms:?utKeyPolicy",), "kms:PutKeyPolicy", True),
        (("kms:?PutKeyPolicy",), "kms:PutKeyPolicy", False),
        (("*",), "kms:PutKeyPolicy", True),
        (("s3:*", "kms:Re*"), "kms:ReEncryptFrom", True),
        (("s3:*",), "kms:Decrypt", False),
        ((), "kms:Decrypt", False),
    ],
)
def test_a_pattern_covers_an_action(patterns: tuple[str, ...], action: str, covered: bool) -> None:
    assert covers(patterns, action) is covered


def test_what_leads_to_the_data_is_what_the_linter_looks_for() -> None:
    assert actions.RELEASING == ("kms:Decrypt", "kms:ReEncryptFrom", "kms:DeriveSharedSecret")
    assert actions.GRANTING == "kms:CreateGrant"
    assert actions.REPLICATING == "kms:ReplicateKey"
    assert actions.REWRITING == "kms:PutKeyPolicy"


def test_administrators_can_rewrite_and_do_nothing_else_that_leads_to_the_data() -> None:
    dangerous = {*actions.RELEASING, actions.GRANTING, actions.REPLICATING, actions.REWRITING}
    assert dangerous & set(actions.ADMINISTRATION) == {"kms:PutKeyPolicy"}
    assert not dangerous & set(actions.WRAPPING)
    assert not set(actions.ADMINISTRATION) & set(actions.WRAPPING)


def test_the_actions_are_operations_of_kms() -> None:
    """ReEncrypt is one operation and two permissions."""
    operations = Loader().load_service_model("kms", "service-2")["operations"]
    named = {
        *actions.RELEASING,
        *actions.ADMINISTRATION,
        *actions.WRAPPING,
        actions.GRANTING,
        actions.REPLICATING,
    }
    unknown = {each.removeprefix("kms:") for each in named} - set(operations)
    assert unknown == {"ReEncryptFrom"}
