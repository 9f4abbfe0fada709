"""What is wrong with a request of the protocol."""

from __future__ import annotations

from blindgate.errors import BlindgateError


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
