"""IAM's logic as tables: (policy, who, what) → allowed or refused. No network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from blindgate.policy.document import parse_key_policy
from devstack.kms.evaluator import Decision, Request, decide, decide_without_key
from devstack.kms.principals import Principal, new_user
from devstack.kms.store import Grant
from tests.kms_fixtures import ACCOUNT, ACCOUNT_ROOT, CLIENT, PARENT, allow, people

if TYPE_CHECKING:
    from devstack.kms.conditions import Context

ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
PEOPLE = people(datetime.now(UTC)) | {"root": new_user(ACCOUNT_ROOT)}


def statement(effect: str = "Allow", **changes: Any) -> dict[str, Any]:
    plain = {"Effect": effect, "Principal": {"AWS": PARENT}, "Action": "kms:*", "Resource": "*"}
    return {name: value for name, value in (plain | changes).items() if value is not None}


def ask(
    statements: list[dict[str, Any]],
    who: str | Principal,
    action: str = "kms:Decrypt",
    context: Context | None = None,
    grants: tuple[Grant, ...] = (),
) -> Decision:
    caller = PEOPLE[who] if isinstance(who, str) else who
    policy = parse_key_policy(json.dumps({"Statement": statements}))
    return decide(Request(caller, action, ARN, context or {}, {}), policy, grants)


ALLOW, DENY = statement("Allow"), statement("Deny")
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/blindgate-parent/i-0123"
NO_RESOURCE = "because no resource-based policy allows the kms:Decrypt action"
NO_IDENTITY = "because no identity-based policy allows the kms:Decrypt action"
BY_DENY = "with an explicit deny in a resource-based policy"
OK = ""


@pytest.mark.parametrize(
    ("statements", "who", "action", "reason"),
    [
        # Deny by default; an Allow names its principals and actions.
        ([ALLOW], "parent", "kms:Decrypt", OK),
        ([ALLOW], "client", "kms:Decrypt", NO_RESOURCE),
        ([statement(Action="kms:Encrypt")], "parent", "kms:Decrypt", NO_RESOURCE),
        ([statement(Action=["kms:Enc*", "kms:D?crypt"])], "parent", "kms:Decrypt", OK),
        ([statement(Action="KMS:DECRYPT")], "parent", "kms:Decrypt", OK),
        ([statement(Action="*")], "parent", "kms:Decrypt", OK),
        ([statement(Action="s3:*")], "parent", "kms:Decrypt", NO_RESOURCE),
        ([statement(Action=None, NotAction="kms:Decrypt")], "parent", "kms:Decrypt", NO_RESOURCE),
        ([statement(Action=None, NotAction="kms:Encrypt")], "parent", "kms:Decrypt", OK),
        # Resources.
        ([statement(Resource=ARN)], "parent", "kms:Decrypt", OK),
        ([statement(Resource=f"{ARN}0")], "parent", "kms:Decrypt", NO_RESOURCE),
        ([statement(Resource=None, NotResource=ARN)], "parent", "kms:Decrypt", NO_RESOURCE),
        # Principals: role, session, everybody, account.
        ([statement(Principal={"AWS": SESSION})], "parent", "kms:Decrypt", OK),
        ([statement(Principal={"AWS": SESSION + "4"})], "parent", "kms:Decrypt", NO_RESOURCE),
        ([statement(Principal="*")], "stranger", "kms:Decrypt", OK),
        ([statement(Principal={"AWS": [CLIENT, "*"]})], "stranger", "kms:Decrypt", OK),
        ([statement(Principal={"Service": "ec2.amazonaws.com"})], "parent", "kms:Decrypt",
         NO_RESOURCE),
        ([statement(Principal={"AWS": ACCOUNT_ROOT})], "parent", "kms:Decrypt", NO_IDENTITY),
        ([statement(Principal={"AWS": ACCOUNT_ROOT})], "mighty", "kms:Decrypt", OK),
        ([statement(Principal={"AWS": ACCOUNT})], "mighty", "kms:Decrypt", OK),
        ([statement(Principal={"AWS": ACCOUNT_ROOT})], "root", "kms:Decrypt", OK),
        ([statement(Principal={"AWS": "999999999999"})], "mighty", "kms:Decrypt", NO_RESOURCE),
        # An identity policy alone opens nothing.
        ([ALLOW], "mighty", "kms:Decrypt", NO_RESOURCE),
        # A Deny decides, wherever it stands.
        ([ALLOW, DENY], "parent", "kms:Decrypt", BY_DENY),
        ([DENY, ALLOW], "parent", "kms:Decrypt", BY_DENY),
        ([ALLOW, statement("Deny", Principal="*")], "parent", "kms:Decrypt", BY_DENY),
        ([ALLOW, statement("Deny", Principal={"AWS": ACCOUNT_ROOT})], "parent", "kms:Decrypt",
         BY_DENY),
        ([ALLOW, statement("Deny", Principal={"AWS": CLIENT})], "parent", "kms:Decrypt", OK),
        ([ALLOW, statement("Deny", Action="kms:Encrypt")], "parent", "kms:Decrypt", OK),
        ([DENY], "parent", "kms:Decrypt", BY_DENY),
    ],
)  # fmt: skip
def test_a_decision(statements: list[dict[str, Any]], who: str, action: str, reason: str) -> None:
    decision = ask(statements, who, action)
    assert (decision.allowed, decision.reason) == (not reason, reason)


IMAGE = "kms:RecipientAttestation:ImageSha384"


@pytest.mark.parametrize(
    ("condition", "context", "true"),
    [
        ({"StringEquals": {IMAGE: "aa"}}, {"imagesha384": ("aa",)}, True),
        ({"StringEquals": {IMAGE: "aa"}}, {"imagesha384": ("AA",)}, False),
        ({"StringEquals": {IMAGE: ["bb", "aa"]}}, {"imagesha384": ("aa",)}, True),
        ({"StringEquals": {IMAGE: "aa"}}, {}, False),
        ({"StringEquals": {IMAGE.upper(): "aa"}}, {"imagesha384": ("aa",)}, True),
        ({"StringEqualsIgnoreCase": {IMAGE: "AA"}}, {"imagesha384": ("aa",)}, True),
        ({"StringEqualsIgnoreCase": {IMAGE: "AA"}}, {}, False),
        ({"StringLike": {IMAGE: "a*"}}, {"imagesha384": ("abc",)}, True),
        ({"StringLike": {IMAGE: "a[b]c"}}, {"imagesha384": ("abc",)}, False),
        ({"StringLike": {IMAGE: "*"}}, {}, False),
        ({"StringNotEquals": {IMAGE: "aa"}}, {"imagesha384": ("aa",)}, False),
        ({"StringNotEquals": {IMAGE: ["aa", "bb"]}}, {"imagesha384": ("bb",)}, False),
        ({"StringNotEquals": {IMAGE: "aa"}}, {"imagesha384": ("bb",)}, True),
        ({"StringNotEquals": {IMAGE: "aa"}}, {}, True),
        ({"StringNotLike": {IMAGE: "a*"}}, {"imagesha384": ("abc",)}, False),
        ({"StringNotEqualsIgnoreCase": {IMAGE: "AA"}}, {"imagesha384": ("aa",)}, False),
        ({"StringNotEqualsIgnoreCase": {IMAGE: "AA"}}, {"imagesha384": ("bb",)}, True),
        ({"StringNotEqualsIgnoreCase": {IMAGE: "AA"}}, {}, True),
        ({"StringEqualsIgnoreCase": {IMAGE: ["BB", "AA"]}}, {"imagesha384": ("aa",)}, True),
        ({"Null": {IMAGE: "true"}}, {}, True),
        ({"Null": {IMAGE: True}}, {"imagesha384": ("aa",)}, False),
        ({"Null": {IMAGE: "false"}}, {"imagesha384": ("aa",)}, True),
        ({"StringEqualsIfExists": {IMAGE: "aa"}}, {}, True),
        ({"StringEqualsIfExists": {IMAGE: "aa"}}, {"imagesha384": ("bb",)}, False),
        ({"ForAllValues:StringEquals": {IMAGE: "aa"}}, {}, True),
        ({"ForAllValues:StringEquals": {IMAGE: "aa"}}, {"imagesha384": ("aa", "bb")}, False),
        ({"ForAllValues:StringEquals": {IMAGE: ["aa", "bb"]}}, {"imagesha384": ("aa",)}, True),
        ({"ForAnyValue:StringEquals": {IMAGE: "aa"}}, {}, False),
        ({"ForAnyValue:StringEquals": {IMAGE: "aa"}}, {"imagesha384": ("bb", "aa")}, True),
        ({"ForAnyValue:StringNotEquals": {IMAGE: "aa"}}, {"imagesha384": ("bb", "aa")}, True),
        ({"ForAllValues:StringNotEquals": {IMAGE: "aa"}}, {"imagesha384": ("bb", "aa")}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, {}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {}, False),
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, {}, False),
        ({"StringEquals": {"aws:PrincipalArn": PARENT}}, {}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/blindgate-*"}}, {}, True),
        ({"ArnNotEquals": {"aws:PrincipalArn": PARENT}}, {}, False),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, {}, True),
        ({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}, {}, False),
        (
            {"StringEquals": {IMAGE: "aa", "kms:RecipientAttestation:PCR1": "bb"}},
            {"imagesha384": ("aa",), "pcr1": ("bb",)},
            True,
        ),
        (
            {"StringEquals": {IMAGE: "aa", "kms:RecipientAttestation:PCR1": "bb"}},
            {"imagesha384": ("aa",), "pcr1": ("cc",)},
            False,
        ),
    ],
)
def test_a_condition(condition: dict[str, Any], context: Context, true: bool) -> None:
    named: Context = {f"kms:recipientattestation:{k}": v for k, v in context.items()}
    decision = ask([statement(Condition=condition)], "parent", context=named)
    assert decision.allowed is true
    denied = ask([ALLOW, statement("Deny", Condition=condition)], "parent", context=named)
    assert denied.allowed is not true


GRANT = Grant("g", PARENT, ("Decrypt",))


@pytest.mark.parametrize(
    ("statements", "who", "action", "allowed"),
    [
        ([statement(Action="kms:Encrypt")], "parent", "kms:Decrypt", True),
        ([statement(Action="kms:Encrypt")], "client", "kms:Decrypt", False),
        ([statement(Action="kms:Encrypt")], "parent", "kms:GenerateDataKey", False),
        ([DENY], "parent", "kms:Decrypt", False),
    ],
)
def test_a_grant_allows_what_it_names_and_no_deny_forbids(
    statements: list[dict[str, Any]], who: str, action: str, allowed: bool
) -> None:
    assert ask(statements, who, action, grants=(GRANT,)).allowed is allowed


def test_a_deny_in_an_identity_policy_decides_too() -> None:
    denial = allow("kms:Decrypt")
    denial["Statement"][0]["Effect"] = "Deny"
    caller = new_user(CLIENT, identity_policy=denial)
    decision = ask([statement(Principal={"AWS": CLIENT})], caller)
    refused = Decision(allowed=False, reason="with an explicit deny in an identity-based policy")
    assert decision == refused
    assert decide_without_key(Request(caller, "kms:Decrypt", "*", {}, {})) == refused
    # Of something else it says nothing.
    assert ask([statement(Principal={"AWS": CLIENT})], caller, "kms:Encrypt").allowed


def test_the_account_s_root_needs_no_identity_policy() -> None:
    request = Request(PEOPLE["root"], "kms:CreateKey", "*", {}, {})
    assert decide_without_key(request).allowed


@pytest.mark.parametrize(
    ("equals", "subset", "pairs", "allowed"),
    [
        (None, None, {}, True),
        (None, None, {"a": "1"}, True),
        ({"a": "1"}, None, {"a": "1"}, True),
        ({"a": "1"}, None, {"a": "1", "b": "2"}, False),
        ({"a": "1"}, None, {}, False),
        ({"a": "1"}, None, {"a": "2"}, False),
        (None, {"a": "1"}, {"a": "1"}, True),
        (None, {"a": "1"}, {"a": "1", "b": "2"}, True),
        (None, {"a": "1", "b": "2"}, {"a": "1"}, False),
        (None, {"a": "1"}, {"a": "2"}, False),
        (None, {"a": "1"}, {}, False),
    ],
)
def test_the_constraints_of_a_grant_are_on_the_encryption_context(
    equals: dict[str, str] | None,
    subset: dict[str, str] | None,
    pairs: dict[str, str],
    allowed: bool,
) -> None:
    grant = Grant("0" * 64, PEOPLE["stranger"].arn, ("Decrypt",), equals, subset)
    policy = parse_key_policy(json.dumps({"Statement": [ALLOW]}))
    request = Request(PEOPLE["stranger"], "kms:Decrypt", ARN, {}, pairs)
    assert decide(request, policy, (grant,)).allowed is allowed
