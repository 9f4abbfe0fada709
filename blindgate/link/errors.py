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
