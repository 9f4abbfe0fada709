"""What can be wrong with a policy, or with the wish for one."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class PolicyError(BlindgateError):
    """Base of everything this package raises."""


class MalformedPolicyError(PolicyError):
    """The text is no policy document that AWS would take.

    Attributes:
        place: Where in the document, for example `Statement[2].Condition`.
        reason: The broken rule.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.place = place
        self.reason = reason


class UnsafePolicyError(PolicyError):
    """The policy that was asked for would not hold, so it is not written."""
