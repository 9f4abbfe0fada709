"""What can go wrong on the link."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class LinkError(BlindgateError):
    """Base of every error of the link."""


class AddressError(LinkError):
    """A text is not an address of the link."""


class DialError(LinkError):
    """The other side cannot be reached; nothing was sent."""


class FrameError(LinkError):
    """The other side sent something that is no frame, or one over a limit.

    The connection is of no more use: there is no way to find where the next frame begins.
    """


class RequestRefused(FrameError):
    """A request that cannot be received, and whose id is known: it can be refused by a response.

    Attributes:
        request_id: The 16 bytes that the response repeats.
    """

    def __init__(self, reason: str, request_id: bytes) -> None:
        super().__init__(reason)
        self.request_id = request_id


class BodyTooLarge(RequestRefused):
    """The body of a request is longer than the receiver's limit; it was not received."""


class HeaderTooLarge(LinkError):
    """The parameters of a request do not fit into a header; nothing was sent.

    Attributes:
        size: Bytes that the header would take.
        limit: Bytes that a receiver accepts.
        parameter: Name of the parameter that takes the most of them; empty if there is none.
    """

    def __init__(self, size: int, limit: int, parameter: str) -> None:
        super().__init__(f"a header of {size} bytes is over the limit of {limit}")
        self.size = size
        self.limit = limit
        self.parameter = parameter
