"""The condition operators of IAM, as far as the dev KMS evaluates them.

AWS, IAM User Guide, "IAM JSON policy elements: Condition operators" and "Conditions with
multiple context keys or values". A request's context maps a key's lower-case name to its values;
a key that is not there is absent, which is not the same as empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindgate.policy.wildcards import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from blindgate.policy.document import Condition

#: Values of context keys, by the key's name in lower case.
Context = dict[str, tuple[str, ...]]

_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.casefold() == value.casefold(),
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}
#: What a policy may use here; numbers, dates, addresses and binaries are refused when it is put.
EVALUATED = frozenset(_COMPARE) | frozenset(_NEGATED) | {"Null"}


def hold(conditions: Sequence[Condition], context: Mapping[str, tuple[str, ...]]) -> bool:
    """Tell whether all conditions of a statement are true."""
    return all(_holds(each, context.get(each.key.lower())) for each in conditions)


def _holds(condition: Condition, present: tuple[str, ...] | None) -> bool:
    if condition.operator == "Null":
        return (present is None) == (condition.values[0].lower() == "true")
    if condition.if_exists and present is None:
        return True
    negated = condition.operator in _NEGATED
    compare = _COMPARE[_NEGATED.get(condition.operator, condition.operator)]

    def one(value: str) -> bool:
        found = any(compare(wanted, value) for wanted in condition.values)
        return found != negated

    match condition.quantifier:
        case "ForAllValues":  # true of nothing at all, which is what makes it dangerous in Allow
            return all(one(value) for value in present or ())
        case "ForAnyValue":
            return any(one(value) for value in present or ())
        case _ if present is None:
            return negated
        case _:
            return all(one(value) for value in present) if negated else any(map(one, present))
