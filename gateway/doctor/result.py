"""The outcome of one check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    FAILED = "failed"
    #: It cannot be seen from here, for example because this role has no permission to look.
    UNKNOWN = "unknown"
    #: It makes no sense here, for example because something before it is missing.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found, in words for a person.

    Attributes:
        outcome: Whether there is something to do.
        seen: What was seen, in one line without a full stop.
        fix: What to do next; empty if nothing.
        details: Values for programs.
    """

    outcome: Outcome
    seen: str
    fix: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def ok(seen: str, **details: Any) -> Result:
    """Nothing is wrong."""
    return Result(Outcome.OK, seen, details=details)


def failed(seen: str, fix: str, **details: Any) -> Result:
    """Something is wrong, and `fix` says what to do."""
    return Result(Outcome.FAILED, seen, fix, details)


def unknown(seen: str, fix: str, **details: Any) -> Result:
    """It cannot be seen from here; `fix` says who can see it, and how."""
    return Result(Outcome.UNKNOWN, seen, fix, details)


def skipped(seen: str, fix: str = "") -> Result:
    """It makes no sense here."""
    return Result(Outcome.SKIPPED, seen, fix)
