"""Policy documents: one broken rule a case, and any text at all."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.policy.document import (
    MAX_KEY_POLICY_BYTES,
    parse_identity_policy,
    parse_key_policy,
)
from blindgate.policy.errors import MalformedPolicyError

GOOD: dict[str, Any] = {
    "Sid": "One",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::111122223333:role/a"},
    "Action": "kms:Decrypt",
    "Resource": "*",
}


def text(**changes: Any) -> str:
    changed = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return json.dumps({"Version": "2012-10-17", "Statement": [changed]})


def test_a_statement_is_read_whole() -> None:
    condition = {"ForAnyValue:StringEqualsIfExists": {"kms:EncryptionContextKeys": ["a", "b"]}}
    (statement,) = parse_key_policy(text(Condition=condition)).statements
    assert statement.allow
    assert statement.place == "Statement[0] (One)"
    assert statement.principals is not None
    assert statement.principals.aws == (GOOD["Principal"]["AWS"],)
    (read,) = statement.conditions
    assert (read.quantifier, read.operator, read.if_exists) == ("ForAnyValue", "StringEquals", True)
    assert read.values == ("a", "b")
    assert read.spelling == "ForAnyValue:StringEqualsIfExists"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, ("true",)),
        (False, ("false",)),
        ([True, False, "x", 7], ("true", "false", "x", "7")),
        (0, ("0",)),
        ("", ("",)),
    ],
)
def test_values_of_conditions_are_text(value: Any, read: tuple[str, ...]) -> None:
    (statement,) = parse_key_policy(text(Condition={"Bool": {"a": value}})).statements
    assert [each.values for each in statement.conditions] == [read]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Effect": "allow"}, "Allow or Deny"),
        ({"Effect": None}, "Allow or Deny"),
        ({"Sid": 7}, "Sid"),
        ({"Action": None}, "exactly one of Action"),
        ({"NotAction": "kms:*"}, "exactly one of Action"),
        ({"Action": []}, "list of strings"),
        ({"Action": [1]}, "list of strings"),
        ({"Action": "Decrypt"}, "names no service"),
        ({"Resource": None}, "exactly one of Resource"),
        ({"NotResource": "*"}, "exactly one of Resource"),
        ({"Principal": None}, "exactly one of Principal"),
        ({"NotPrincipal": "*"}, "exactly one of Principal"),
        ({"Principal": "arn:aws:iam::111122223333:role/a"}, "an object"),
        ({"Principal": {}}, "an object"),
        ({"Principal": {"CanonicalUser": "x"}}, "unknown element"),
        ({"Principal": {"Federated": "x"}}, "unknown element"),
        ({"Sids": "x"}, "unknown element"),
        ({"Condition": []}, "an object"),
        ({"Condition": {"StringEquals": {}}}, "an object"),
        ({"Condition": {"StringEquals": {"a": []}}}, "value"),
        ({"Condition": {"StringEquals": {"a": None}}}, "value"),
        ({"Condition": {"StringEquals": {"a": {"b": 1}}}}, "value"),
        ({"Condition": {"StringIs": {"a": "b"}}}, "not a condition operator"),
        ({"Condition": {"ForSome:StringEquals": {"a": "b"}}}, "not a condition operator"),
        ({"Condition": {"NullIfExists": {"a": "true"}}}, "not a condition operator"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedPolicyError, match=reason):
        parse_key_policy(text(**changes))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"Statement": {}}',
        '{"Statement": [7]}',
        '{"Statement": [], "Extra": 1}',
        '{"Id": 7, "Statement": []}',
        '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}',
        json.dumps({"Statement": [GOOD, GOOD]}),
        json.dumps({"Statement": GOOD}) + " " * MAX_KEY_POLICY_BYTES,
    ],
)
def test_what_is_no_policy_is_refused(content: str) -> None:
    with pytest.raises(MalformedPolicyError):
        parse_key_policy(content)


def test_an_identity_policy_has_no_principal() -> None:
    (statement,) = parse_identity_policy(text(Principal=None)).statements
    assert statement.principals is None
    with pytest.raises(MalformedPolicyError, match="unknown element 'Principal'"):
        parse_identity_policy(text())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["*"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*GOOD, "Statement", "Condition", "StringEquals", "AWS", "x"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
@settings(max_examples=150)
def test_any_json_is_a_policy_or_a_typed_error(value: Any) -> None:
    with contextlib.suppress(MalformedPolicyError):
        parse_key_policy(json.dumps({"Statement": value}))
