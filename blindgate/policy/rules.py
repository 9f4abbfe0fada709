"""What the linter looks for in a statement, one function a rule.

A check gives a short detail about what it found (`-` when there is nothing to add), or an empty
string when the statement is innocent of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from blindgate.policy.actions import GRANTING, RELEASING, REPLICATING, REWRITING, covers
from blindgate.policy.principals import Identity, Kind, identify
from blindgate.policy.wildcards import has_wildcard

if TYPE_CHECKING:
    from blindgate.policy.document import Condition, PolicyDocument, Statement

Check = Callable[["Statement"], str]

_PREFIX = "kms:recipientattestation:"
_IMAGE = (f"{_PREFIX}imagesha384", f"{_PREFIX}pcr0")
_MEASUREMENT = re.compile(r"[0-9a-f]{96}")
#: What leads to the data: by itself, by handing it on, or by changing the rules.
_DANGEROUS = (*RELEASING, GRANTING, REPLICATING, REWRITING)
#: Operators that hold only when the key is there and equals a listed value.
_POSITIVE = ("StringEquals", "StringEqualsIgnoreCase", "StringLike")


def allows(statement: Statement, action: str) -> bool:
    """Tell whether the statement allows the action to anybody, under any condition."""
    return statement.allow and covers(statement.actions, action) != statement.negated_actions


def unattested_release(statement: Statement) -> str:
    """Decrypt, or what amounts to it, with no attestation condition."""
    released = _released(statement)
    # What the other rules say better is left to them: conditions that are there but weak.
    return ", ".join(released) if released and not _attestation(statement) else ""


def root_delegation(statement: Statement) -> str:
    """An account gets something that leads to the data."""
    return _reached_by(statement, Kind.ACCOUNT)


def federated_user(statement: Statement) -> str:
    """A federated user gets something that leads to the data."""
    return _reached_by(statement, Kind.FEDERATED)


def unreadable_principal(statement: Statement) -> str:
    """Something that is no ARN of a role, a user or a session is allowed anything."""
    if not statement.allow:
        return ""
    unreadable = [each for each in _principals(statement) if identify(each).kind is Kind.UNREADABLE]
    return unreadable[0] if unreadable else ""


def zero_measurement(statement: Statement) -> str:
    """A PCR of an Allow is all zero."""
    if not statement.allow:
        return ""
    wanted = [each for each in _attestation(statement) if each.operator in _POSITIVE]
    return ", ".join(each.key for each in wanted if any(map(_is_zero, each.values)))


def grant_permission(statement: Statement) -> str:
    """CreateGrant is allowed."""
    return "-" if allows(statement, GRANTING) else ""


def replica_permission(statement: Statement) -> str:
    """ReplicateKey is allowed."""
    return "-" if allows(statement, REPLICATING) else ""


def wildcard_principal(statement: Statement) -> str:
    """An Allow for everybody, for a pattern, or for everybody but somebody."""
    if not statement.allow or statement.principals is None:
        return ""
    if statement.principals.negated:
        return "NotPrincipal"
    named = (*statement.principals.aws, *statement.principals.services)
    wild = [each for each in named if has_wildcard(each)]
    return f"Principal {wild[0]}" if wild else ""


def image_not_pinned(statement: Statement) -> str:
    """An attestation condition that does not say which image."""
    conditions = _attestation(statement)
    if not _released(statement) or not conditions:
        return ""
    if any(each.key.lower() in _IMAGE and each.operator in _POSITIVE for each in conditions):
        return ""
    return "only " + ", ".join(f"{each.spelling} {each.key}" for each in conditions)


def toothless_condition(statement: Statement) -> str:
    """An attestation condition of an Allow that passes when the key is absent."""
    if not _released(statement):
        return ""
    weak = [each for each in _attestation(statement) if not _has_teeth(each)]
    return f"{weak[0].spelling} {weak[0].key}" if weak else ""


def mixed_images(statement: Statement) -> str:
    """Several values for several PCRs in one statement."""
    if not _released(statement):
        return ""
    plural = [each.key for each in _attestation(statement) if len(each.values) > 1]
    return ", ".join(plural) if len(plural) > 1 else ""


def wrong_measurement(statement: Statement) -> str:
    """A value that no PCR can have."""
    for each in _attestation(statement):
        if each.operator in ("Null", "Bool"):
            continue
        for value in each.values:
            compared = value.lower() if "IgnoreCase" in each.operator else value
            pattern = each.operator.endswith("Like") and has_wildcard(value)
            if not pattern and not _MEASUREMENT.fullmatch(compared):
                return f"{each.key} = {value[:24]}"
    return ""


def wildcard_measurement(statement: Statement) -> str:
    """A pattern where a measurement belongs."""
    if not statement.allow:
        return ""
    for each in _attestation(statement):
        wild = [value for value in each.values if has_wildcard(value)]
        if wild and each.operator.endswith("Like"):
            return f"{each.key} = {wild[0][:24]}"
    return ""


def partial_measurement(statement: Statement) -> str:
    """PCR0 without PCR1 or PCR2."""
    if not _released(statement):
        return ""
    keys = {each.key.lower() for each in _attestation(statement)}
    if not keys & set(_IMAGE):
        return ""
    missing = [f"PCR{i}" for i in (1, 2) if f"{_PREFIX}pcr{i}" not in keys]
    return f"without {' and '.join(missing)}" if missing else ""


def roles_that_rewrite(policy: PolicyDocument) -> list[str]:
    """Principals that may both open data and replace the policy, as the policy spells them."""
    opens = {identify(each) for each in _principals_allowed(policy, RELEASING)}
    rewrites = _principals_allowed(policy, (REWRITING,))
    return sorted(each for each in rewrites if _is_one(identify(each)) and identify(each) in opens)


def denies_unattested(policy: PolicyDocument) -> bool:
    """Tell whether Decrypt without an attestation is explicitly denied to everybody."""
    for statement in policy.statements:
        denied = covers(statement.actions, "kms:Decrypt") != statement.negated_actions
        if statement.allow or not denied or not _everybody(statement) or not _this_key(statement):
            continue
        if not statement.conditions:
            return True
        if len(statement.conditions) == 1 and _holds_without_attestation(statement.conditions[0]):
            return True
    return False


def _everybody(statement: Statement) -> bool:
    named = statement.principals
    return named is not None and "*" in named.aws and not named.negated


def _this_key(statement: Statement) -> bool:
    """Whether it certainly covers the key that carries the policy, whose ARN is not known here."""
    return "*" in statement.resources and not statement.negated_resources


def _holds_without_attestation(condition: Condition) -> bool:
    if condition.key.lower() not in _IMAGE or condition.quantifier == "ForAnyValue":
        return False
    if condition.operator == "Null":
        return condition.values == ("true",)
    return "Not" in condition.operator


def _released(statement: Statement) -> list[str]:
    return [action for action in RELEASING if allows(statement, action)]


def _attestation(statement: Statement) -> list[Condition]:
    return [each for each in statement.conditions if each.key.lower().startswith(_PREFIX)]


def _has_teeth(condition: Condition) -> bool:
    if condition.operator == "Null":
        return condition.values == ("false",)
    return (
        condition.operator in _POSITIVE
        and not condition.if_exists
        and condition.quantifier != "ForAllValues"
    )


def _is_zero(value: str) -> bool:
    return bool(value) and set(value) == {"0"}


def _principals(statement: Statement) -> tuple[str, ...]:
    """Whom the statement names; nobody for NotPrincipal, which has a rule of its own."""
    named = statement.principals
    return named.aws if named and not named.negated else ()


def _principals_allowed(policy: PolicyDocument, actions: tuple[str, ...]) -> set[str]:
    return {
        arn
        for statement in policy.statements
        if any(allows(statement, action) for action in actions)
        for arn in _principals(statement)
    }


def _is_one(identity: Identity) -> bool:
    """Whether it is one role, user or session; other rules report the rest."""
    return identity.kind in (Kind.ROLE, Kind.USER, Kind.FEDERATED)


def _reached_by(statement: Statement, kind: Kind) -> str:
    reached = [action for action in _DANGEROUS if allows(statement, action)]
    named = [each for each in _principals(statement) if identify(each).kind is kind]
    return f"{named[0]}: {', '.join(reached)}" if named and reached else ""
