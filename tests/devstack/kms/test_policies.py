"""Key policies: what is taken, what is refused, and how a refusal reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.kms_fixtures import ACCOUNT, ACCOUNT_ROOT, ADMIN, CLIENT, PARENT

if TYPE_CHECKING:
    from tests.kms_fixtures import RunningKms

FULL = {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "kms:*", "Resource": "*"}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.fixture
def admin(kms: RunningKms) -> Any:
    return kms.client("admin")


@pytest.fixture
def key(kms: RunningKms) -> str:
    return kms.create_key(policy(FULL))


def test_a_policy_comes_back_as_it_was_put(admin: Any, key: str) -> None:
    text = policy(FULL, {**FULL, "Principal": {"AWS": CLIENT}, "Action": ["kms:Encrypt"]})
    admin.put_key_policy(KeyId=key, Policy=text, PolicyName="default")
    assert admin.get_key_policy(KeyId=key)["Policy"] == text


def test_the_default_policy_delegates_to_the_account(kms: RunningKms, admin: Any) -> None:
    key = kms.create_key()
    mighty = kms.client("mighty")
    statement = json.loads(mighty.get_key_policy(KeyId=key)["Policy"])["Statement"][0]
    assert statement["Principal"] == {"AWS": ACCOUNT_ROOT}
    with pytest.raises(ClientError, match=r"no identity-based policy allows the kms:GetKeyPolicy"):
        admin.get_key_policy(KeyId=key)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("not json", "MalformedPolicyDocumentException"),
        ("{}", "MalformedPolicyDocumentException"),
        ('{"Statement": []}', "MalformedPolicyDocumentException"),
        ('{"Version": "2020-01-01", "Statement": []}', "MalformedPolicyDocumentException"),
        (policy({**FULL, "Effect": "Maybe"}), "MalformedPolicyDocumentException"),
        (policy({**FULL, "Extra": 1}), "MalformedPolicyDocumentException"),
        (policy(FULL, {"Effect": "Allow"}), "MalformedPolicyDocumentException"),
        (
            policy(FULL, {**FULL, "Condition": {"StringSounds": {"a": "b"}}}),
            "MalformedPolicyDocumentException",
        ),
        (
            policy(FULL, {**FULL, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}}),
            "MalformedPolicyDocumentException",
        ),
        (
            policy(FULL, {**FULL, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}}),
            "MalformedPolicyDocumentException",
        ),
        (
            policy(FULL, {**FULL, "Principal": {"AWS": "999999999999"}}),
            "MalformedPolicyDocumentException",
        ),
        (
            policy(FULL, {**FULL, "Condition": {"NumericLessThan": {"a": 1}}}),
            "UnsupportedOperationException",
        ),
        (
            policy(FULL, {**FULL, "Condition": {"StringEquals": {"a": "${aws:PrincipalArn}"}}}),
            "UnsupportedOperationException",
        ),
        (policy(FULL) + " " * 33_000, "LimitExceededException"),
    ],
)
def test_a_policy_that_is_no_policy_is_refused(admin: Any, key: str, text: str, name: str) -> None:
    with pytest.raises(ClientError, match=name):
        admin.put_key_policy(KeyId=key, Policy=text)
    assert admin.get_key_policy(KeyId=key)["Policy"] == policy(FULL)


def test_not_principal_is_refused_and_not_guessed_at(admin: Any, key: str) -> None:
    statement = {**FULL, "NotPrincipal": FULL["Principal"]}
    del statement["Principal"]
    with pytest.raises(ClientError, match=r"UnsupportedOperationException.*NotPrincipal"):
        admin.put_key_policy(KeyId=key, Policy=policy(FULL, statement))


def test_nobody_locks_himself_out_by_accident(admin: Any, key: str) -> None:
    others = policy({**FULL, "Principal": {"AWS": CLIENT}})
    with pytest.raises(ClientError, match="will not allow you to update the key policy"):
        admin.put_key_policy(KeyId=key, Policy=others)
    admin.put_key_policy(KeyId=key, Policy=others, BypassPolicyLockoutSafetyCheck=True)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        admin.get_key_policy(KeyId=key)


def test_a_policy_for_a_role_session_is_taken(admin: Any, key: str) -> None:
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/blindgate-parent/i-0123"
    admin.put_key_policy(KeyId=key, Policy=policy(FULL, {**FULL, "Principal": {"AWS": session}}))


@pytest.mark.parametrize(
    ("name", "operation", "reason"),
    [
        ("client", "encrypt", "because no resource-based policy allows the kms:Encrypt action"),
        ("parent", "encrypt", "with an explicit deny in a resource-based policy"),
    ],
)
def test_a_refusal_says_which_kind_of_policy_decided(
    kms: RunningKms, name: str, operation: str, reason: str
) -> None:
    key = kms.create_key(policy(FULL, {**FULL, "Effect": "Deny", "Principal": {"AWS": PARENT}}))
    with pytest.raises(ClientError) as error:
        getattr(kms.client(name), operation)(KeyId=key, Plaintext=b"x")
    message = error.value.response["Error"]["Message"]
    assert message == (
        f"User: {kms.principals[name].arn} is not authorized to perform: kms:Encrypt "
        f"on resource: {key} {reason}"
    )


@pytest.mark.parametrize("operation", ["create_key", "list_aliases"])
def test_what_has_no_key_needs_an_identity_policy(kms: RunningKms, operation: str) -> None:
    with pytest.raises(ClientError, match="because no identity-based policy allows"):
        getattr(kms.client("stranger"), operation)()


@pytest.mark.parametrize(
    "operation", ["enable_key", "disable_key", "schedule_key_deletion", "get_key_policy"]
)
def test_administration_needs_the_permission(kms: RunningKms, key: str, operation: str) -> None:
    with pytest.raises(ClientError, match="AccessDeniedException"):
        getattr(kms.client("stranger"), operation)(KeyId=key)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"Operations": ["Sign"]}, "UnsupportedOperationException"),
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:user/nobody"}, "InvalidArnException"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    admin: Any, key: str, options: dict[str, Any], text: str
) -> None:
    wanted = {"KeyId": key, "GranteePrincipal": CLIENT, "Operations": ["Decrypt"]}
    with pytest.raises(ClientError, match=text):
        admin.create_grant(**(wanted | options))


def test_a_grant_holds_to_its_encryption_context(kms: RunningKms, admin: Any, key: str) -> None:
    admin.create_grant(
        KeyId=key,
        GranteePrincipal=CLIENT,
        Operations=["Decrypt", "Encrypt"],
        Constraints={"EncryptionContextSubset": {"purpose": "image"}},
    )
    client = kms.client("client")
    context = {"purpose": "image", "more": "1"}
    client.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.encrypt(KeyId=key, Plaintext=b"x")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)


def test_revoking_an_unknown_grant_is_refused(admin: Any, key: str) -> None:
    with pytest.raises(ClientError, match="NotFoundException"):
        admin.revoke_grant(KeyId=key, GrantId="0" * 64)
