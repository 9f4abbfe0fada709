"""How the pool says that a request got no answer from an enclave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from blindgate.problems import Problem


class PoolRefused(BlindgateError):
    """The pool did not, or could not, get an answer.

    Attributes:
        problem: What the client is told.
        retry_after: Whole seconds after which trying again makes sense, or None.
    """

    def __init__(self, problem: Problem, retry_after: int | None = None) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.retry_after = retry_after


class StreamLost(BlindgateError):
    """The connection to an enclave ended, or what came over it was no answer.

    Attributes:
        untouched: True if no byte of the request left this process, so that another enclave
            may have it. Otherwise nobody knows whether the enclave acted on it.
    """

    def __init__(self, reason: str, *, untouched: bool = False) -> None:
        super().__init__(reason)
        self.untouched = untouched


class EnclaveRefused(BlindgateError):
    """An enclave does not pass the checks that come before traffic."""
