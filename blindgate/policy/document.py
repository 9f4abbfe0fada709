"""IAM policy documents, parsed strictly.

AWS, IAM User Guide, "Grammar of the IAM JSON policy language". The parser refuses what AWS
refuses (unknown elements, unknown operators, a key policy without a principal) and duplicate
JSON names, of which a reader and AWS might each see another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blindgate.policy.errors import MalformedPolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: KMS's own limit for a key policy, in bytes (KMS Developer Guide, "Resource quotas").
MAX_KEY_POLICY_BYTES = 32 * 1024

_VERSIONS = ("2012-10-17", "2008-10-17")
_QUANTIFIERS = ("ForAnyValue", "ForAllValues")
_BASES = {
    "String": (
        "Equals",
        "NotEquals",
        "EqualsIgnoreCase",
        "NotEqualsIgnoreCase",
        "Like",
        "NotLike",
    ),
    "Arn": ("Equals", "NotEquals", "Like", "NotLike"),
    "Numeric": (
        "Equals",
        "NotEquals",
        "LessThan",
        "LessThanEquals",
        "GreaterThan",
        "GreaterThanEquals",
    ),
    "Date": (
        "Equals",
        "NotEquals",
        "LessThan",
        "LessThanEquals",
        "GreaterThan",
        "GreaterThanEquals",
    ),
}
#: Every condition operator of the IAM grammar, without quantifier and `IfExists`.
OPERATORS = frozenset(
    {family + form for family, forms in _BASES.items() for form in forms}
    | {"Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "Null"}
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a `Condition` block: an operator, a context key and the accepted values.

    Attributes:
        operator: The bare operator, for example `StringEquals`.
        quantifier: `ForAnyValue`, `ForAllValues`, or empty.
        if_exists: Whether the operator ended in `IfExists`.
        key: The context key as written; AWS compares its name without regard to case.
        values: The values, booleans and numbers as text.
    """

    operator: str
    quantifier: str
    if_exists: bool
    key: str
    values: tuple[str, ...]

    @property
    def spelling(self) -> str:
        """The operator as it stands in the document."""
        prefix = f"{self.quantifier}:" if self.quantifier else ""
        return f"{prefix}{self.operator}{'IfExists' if self.if_exists else ''}"


@dataclass(frozen=True, slots=True)
class Principals:
    """The `Principal` or `NotPrincipal` of a statement.

    Attributes:
        aws: ARNs, account ids or `*`, as written.
        services: Service principals.
        negated: Whether it is `NotPrincipal`.
    """

    aws: tuple[str, ...]
    services: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `principals` is `None` in an identity policy only."""

    index: int
    sid: str | None
    allow: bool
    principals: Principals | None
    actions: tuple[str, ...]
    negated_actions: bool
    resources: tuple[str, ...]
    negated_resources: bool
    conditions: tuple[Condition, ...]

    @property
    def place(self) -> str:
        """Where the statement is, for messages."""
        return f"Statement[{self.index}]" + (f" ({self.sid})" if self.sid else "")


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A parsed policy."""

    statements: tuple[Statement, ...]


def parse_key_policy(text: str) -> PolicyDocument:
    """Parse a resource-based policy of a KMS key.

    Raises:
        MalformedPolicyError: AWS would answer MalformedPolicyDocumentException.
    """
    return _parse(text, key_policy=True)


def parse_identity_policy(text: str) -> PolicyDocument:
    """Parse a policy that is attached to a user or role.

    Raises:
        MalformedPolicyError: AWS would answer MalformedPolicyDocument.
    """
    return _parse(text, key_policy=False)


def _parse(text: str, *, key_policy: bool) -> PolicyDocument:
    if len(text.encode()) > MAX_KEY_POLICY_BYTES:
        raise MalformedPolicyError("", f"larger than {MAX_KEY_POLICY_BYTES} bytes")
    try:
        body = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise MalformedPolicyError("", "not valid JSON") from None
    if not isinstance(body, dict):
        raise MalformedPolicyError("", "a policy is a JSON object")
    _refuse_unknown(body, {"Version", "Id", "Statement"}, "")
    if body.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise MalformedPolicyError("Version", f"must be one of {', '.join(_VERSIONS)}")
    if not isinstance(body.get("Id", ""), str):
        raise MalformedPolicyError("Id", "must be a string")
    statements = body.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise MalformedPolicyError("Statement", "must hold at least one statement")
    parsed = tuple(_statement(i, each, key_policy) for i, each in enumerate(statements))
    sids = [each.sid for each in parsed if each.sid]
    if len(sids) != len(set(sids)):
        raise MalformedPolicyError("Statement", "statement ids (Sid) must be unique")
    return PolicyDocument(parsed)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise MalformedPolicyError("", "a JSON name occurs twice in one object")
    return made


def _statement(index: int, body: object, key_policy: bool) -> Statement:
    place = f"Statement[{index}]"
    if not isinstance(body, dict):
        raise MalformedPolicyError(place, "must be an object")
    known = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    if key_policy:
        known |= {"Principal", "NotPrincipal"}
    _refuse_unknown(body, known, place)
    sid = body.get("Sid")
    if sid is not None and not isinstance(sid, str):
        raise MalformedPolicyError(f"{place}.Sid", "must be a string")
    if body.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicyError(f"{place}.Effect", "must be Allow or Deny")
    negated_actions, actions = _one_of(body, "Action", "NotAction", place)
    negated_resources, resources = _one_of(body, "Resource", "NotResource", place)
    for action in actions:
        if action != "*" and ":" not in action:
            raise MalformedPolicyError(f"{place}.Action", f"{action!r} names no service")
    return Statement(
        index=index,
        sid=sid,
        allow=body["Effect"] == "Allow",
        principals=_principals(body, place) if key_policy else None,
        actions=actions,
        negated_actions=negated_actions,
        resources=resources,
        negated_resources=negated_resources,
        conditions=tuple(_conditions(body.get("Condition", {}), f"{place}.Condition")),
    )


def _one_of(
    body: Mapping[str, Any], plain: str, negated: str, place: str
) -> tuple[bool, tuple[str, ...]]:
    if (plain in body) == (negated in body):
        raise MalformedPolicyError(place, f"needs exactly one of {plain} and {negated}")
    name = negated if negated in body else plain
    return name == negated, _strings(body[name], f"{place}.{name}")


def _principals(body: Mapping[str, Any], place: str) -> Principals:
    if ("Principal" in body) == ("NotPrincipal" in body):
        raise MalformedPolicyError(place, "needs exactly one of Principal and NotPrincipal")
    negated = "NotPrincipal" in body
    name = "NotPrincipal" if negated else "Principal"
    value = body[name]
    if value == "*":
        return Principals(("*",), negated=negated)
    if not isinstance(value, dict) or not value:
        raise MalformedPolicyError(f"{place}.{name}", 'must be "*" or an object')
    _refuse_unknown(value, {"AWS", "Service"}, f"{place}.{name}")
    return Principals(
        aws=_strings(value["AWS"], f"{place}.{name}.AWS") if "AWS" in value else (),
        services=_strings(value["Service"], f"{place}.{name}.Service")
        if "Service" in value
        else (),
        negated=negated,
    )


def _conditions(body: object, place: str) -> Iterator[Condition]:
    if not isinstance(body, dict):
        raise MalformedPolicyError(place, "must be an object")
    for spelling, lines in body.items():
        quantifier, operator, if_exists = _operator(spelling, place)
        if not isinstance(lines, dict) or not lines:
            raise MalformedPolicyError(f"{place}.{spelling}", "must be an object")
        for key, value in lines.items():
            values = _values(value, f"{place}.{spelling}.{key}")
            yield Condition(operator, quantifier, if_exists, key, values)


def _operator(spelling: str, place: str) -> tuple[str, str, bool]:
    quantifier, _, rest = spelling.rpartition(":")
    if_exists = rest.endswith("IfExists")
    operator = rest.removesuffix("IfExists")
    known = operator in OPERATORS and (not quantifier or quantifier in _QUANTIFIERS)
    if not known or (operator == "Null" and (if_exists or quantifier)):
        raise MalformedPolicyError(place, f"{spelling!r} is not a condition operator")
    return quantifier, operator, if_exists


def _values(value: object, place: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | bool | int) for item in items):
        raise MalformedPolicyError(place, "must be a value or a list of values")
    return tuple(
        ("true" if item else "false") if isinstance(item, bool) else str(item) for item in items
    )


def _strings(value: object, place: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(i, str) for i in items):
        raise MalformedPolicyError(place, "must be a string or a list of strings")
    return tuple(items)


def _refuse_unknown(body: Mapping[str, Any], known: set[str], place: str) -> None:
    for name in body:
        if name not in known:
            raise MalformedPolicyError(place, f"unknown element {name!r}")
