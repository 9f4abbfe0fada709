"""What is wrong with a request of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from blindgate.errors import BlindgateError

#: Faults in one line for people; `errors` has the others.
_SHOWN: Final = 3


class OipError(BlindgateError):
    """A request that cannot be taken.

    Attributes:
        faults: `{"parameter", "message"}` for each fault, without values: those are the caller's.
    """

    def __init__(self, faults: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{each['parameter']}: {each['message']}" for each in faults))
        self.faults = faults

    @classmethod
    def of(cls, parameter: str, message: str) -> OipError:
        """One fault."""
        return cls([{"parameter": parameter, "message": message}])


def error_text(problem: Mapping[str, Any]) -> str:
    """The `error` member of a problem: all that the protocol's clients show of it.

    Args:
        problem: The members of the problem (RFC 9457).
    """
    faults = problem.get("errors") or ()
    if not faults:
        return f"{problem['title']}. {problem['detail']}"
    shown = "; ".join(f"{each['parameter']}: {each['message']}" for each in faults[:_SHOWN])
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return f"{problem['title']}: {shown}{more}"
