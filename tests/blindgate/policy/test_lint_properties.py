"""Whatever lets a role that opens data replace the key policy is found, however it is written.

The oracle is the dev KMS's evaluator: where a session of the role may call PutKeyPolicy, the
linter must have an error to report.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.policy.document import parse_key_policy
from blindgate.policy.lint import Severity, lint
from blindgate.policy.principals import Kind, identify
from devstack.kms.evaluator import Request, decide
from devstack.kms.principals import new_session
from tests.blindgate.policy.test_lint import opens
from tests.kms_fixtures import ACCOUNT, ADMIN, allow

NAME = "blindgate-parent"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/{NAME}"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/{NAME}/i-0123"
#: The role's session, with the most that identity policies could give it.
CALLER = new_session(ROLE, "i-0123", now=datetime.now(UTC), identity_policy=allow("kms:*"))

paths = st.sampled_from(["", "service-role/", "a/b-c/"])
sessions = st.from_regex(r"[\w+=,.@-]{2,20}", fullmatch=True)
#: Every way to name the role, or something that it belongs to.
spellings = st.one_of(
    st.just("*"),
    st.just(ACCOUNT),
    st.just(f"arn:aws:iam::{ACCOUNT}:root"),
    paths.map(lambda path: f"arn:aws:iam::{ACCOUNT}:role/{path}{NAME}"),
    sessions.map(lambda session: f"arn:aws:sts::{ACCOUNT}:assumed-role/{NAME}/{session}"),
    st.just(SESSION),
    st.sampled_from([f"arn:aws:iam::{ACCOUNT}:role/*", f"arn:aws:sts::{ACCOUNT}:assumed-role/*/*"]),
)
others = st.sampled_from(
    [ADMIN, f"arn:aws:iam::{ACCOUNT}:role/other", f"arn:aws:sts::{ACCOUNT}:assumed-role/other/i-1"]
)


@st.composite
def rewriting_actions(draw: st.DrawFn) -> dict[str, Any]:
    """An `Action` or `NotAction` that covers PutKeyPolicy, in any case and with wildcards."""
    if draw(st.booleans()):
        return {"NotAction": draw(st.sampled_from(["kms:Decrypt", "kms:*Grant*", "s3:*"]))}
    action = "PutKeyPolicy"
    at = draw(st.integers(0, len(action)))
    pattern = draw(
        st.sampled_from(
            [action, action[:at] + "*", "*" + action[at:], action[:at] + "?" + action[at + 1 :]]
        )
    )
    if len(pattern) > len(action):  # `?` behind the last letter stands for one letter too many
        pattern = action
    cased = "".join(draw(st.sampled_from([c.lower(), c.upper()])) for c in f"kms:{pattern}")
    more = draw(st.lists(st.sampled_from(["kms:DescribeKey", "kms:List*"]), max_size=2))
    return {"Action": draw(st.permutations([cased, *more]))}


#: Conditions that every direct call meets, so that they restrict nothing.
conditions = st.sampled_from(
    [
        None,
        {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"StringNotEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}},
        {"ForAllValues:StringEquals": {"aws:TagKeys": "x"}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}},
    ]
)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    """An Allow of PutKeyPolicy to the role, under any of its names."""
    named = [draw(spellings), *draw(st.lists(others, max_size=2))]
    statement: dict[str, Any] = {"Effect": "Allow", "Resource": "*", **draw(rewriting_actions())}
    condition = draw(conditions)
    if condition:
        statement["Condition"] = condition
    if draw(st.integers(0, 9)):
        statement["Principal"] = {"AWS": draw(st.permutations(named))}
    else:
        statement["NotPrincipal"] = {"AWS": draw(others)}
    return statement


def rewrites(statement: dict[str, Any]) -> bool:
    """Whether the evaluator lets the role's session replace the policy."""
    policy = parse_key_policy(json.dumps({"Statement": [statement]}))
    arn = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
    return decide(Request(CALLER, "kms:PutKeyPolicy", arn, {}, {}), policy).allowed


def errors(*added: dict[str, Any], opener: str = ROLE) -> set[str]:
    """Codes of the errors of a policy under which `opener` opens data."""
    condition = {"StringEqualsIgnoreCase": PINS}
    policy = opens(condition, Principal={"AWS": opener})
    policy = {"Statement": [*policy["Statement"], *added]}
    return {each.code for each in lint(json.dumps(policy)) if each.severity is Severity.ERROR}


PINS = {
    f"kms:RecipientAttestation:{name}": digit * 96
    for name, digit in (("ImageSha384", "1"), ("PCR1", "2"), ("PCR2", "3"))
}


def test_the_policy_without_the_statement_has_no_error() -> None:
    assert errors() == errors(opener=SESSION) == set()


@given(statements())
def test_every_way_to_replace_the_policy_is_found(statement: dict[str, Any]) -> None:
    found = errors(statement)
    assert found & {"BP102", "BP105", "BP112"}
    if rewrites(statement):
        assert found


@pytest.mark.slow
@given(statements())
def test_it_is_found_too_if_a_session_opens(statement: dict[str, Any]) -> None:
    assert errors(statement, opener=SESSION) & {"BP102", "BP105", "BP112"}


@pytest.mark.slow
@given(statements(), st.booleans())
def test_the_order_of_statements_does_not_matter(statement: dict[str, Any], first: bool) -> None:
    policy = opens({"StringEqualsIgnoreCase": PINS})["Statement"]
    ordered = [statement, *policy] if first else [*policy, statement]
    found = {each.code for each in lint(json.dumps({"Statement": ordered}))}
    assert found & {"BP102", "BP105", "BP112"}


@given(path=paths, session=sessions, upper=st.booleans())
def test_all_names_of_a_role_are_one_identity(path: str, session: str, upper: bool) -> None:
    name = NAME.upper() if upper else NAME
    assert identify(f"arn:aws:iam::{ACCOUNT}:role/{path}{name}") == identify(
        f"arn:aws:sts::{ACCOUNT}:assumed-role/{NAME}/{session}"
    )


@given(st.text(max_size=60))
def test_any_text_is_some_kind_of_principal(text: str) -> None:
    identity = identify(text)
    assert (identity.kind is Kind.PATTERN) == ("*" in text or "?" in text)
