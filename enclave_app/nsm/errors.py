"""What can go wrong with the security module, by who is at fault."""

from __future__ import annotations

from typing import ClassVar

from blindgate.errors import BlindgateError


class NsmError(BlindgateError):
    """Base of all errors of the security module."""


class NsmUnavailable(NsmError):
    """The device or socket cannot be opened, or ended within an exchange."""


class NsmProtocolError(NsmError):
    """The module answered something that is not an answer to the request."""


class NsmRefused(NsmError):
    """The module refused a request; one subclass for each of its codes.

    Attributes:
        code: The module's own name for the refusal (`src/api/mod.rs`, ErrorCode).
    """

    code: ClassVar[str] = ""

    def __init__(self, operation: str) -> None:
        super().__init__(f"the security module refused {operation}: {self.code}")


class NsmInvalidArgument(NsmRefused):
    """An argument is wrong."""

    code = "InvalidArgument"


class NsmInvalidIndex(NsmRefused):
    """There is no such PCR."""

    code = "InvalidIndex"


class NsmInvalidResponse(NsmRefused):
    """The module's response does not fit the request."""

    code = "InvalidResponse"


class NsmReadOnlyIndex(NsmRefused):
    """The PCR is locked."""

    code = "ReadOnlyIndex"


class NsmInvalidOperation(NsmRefused):
    """The module does not know the operation in this form."""

    code = "InvalidOperation"


class NsmBufferTooSmall(NsmRefused):
    """The answer does not fit into the response buffer."""

    code = "BufferTooSmall"


class NsmInputTooLarge(NsmRefused):
    """The request, or a field of it, is too long."""

    code = "InputTooLarge"


class NsmInternalError(NsmRefused):
    """The module or its driver failed."""

    code = "InternalError"


#: The module's code to the error that is raised for it.
BY_CODE: dict[str, type[NsmRefused]] = {
    error.code: error
    for error in (
        NsmInvalidArgument,
        NsmInvalidIndex,
        NsmInvalidResponse,
        NsmReadOnlyIndex,
        NsmInvalidOperation,
        NsmBufferTooSmall,
        NsmInputTooLarge,
        NsmInternalError,
    )
}


class HardwareCheckFailed(BlindgateError):
    """The enclave does not run as a Nitro enclave must; the worker does not start.

    Attributes:
        check: Which check failed: `kernel`, `rng` or `clock`.
    """

    def __init__(self, check: str, message: str) -> None:
        self.check = check
        super().__init__(message)
