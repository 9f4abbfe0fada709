"""What can go wrong while sealing or opening."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class SealingError(BlindgateError):
    """Base of the errors of this package."""


class BinaryHttpError(SealingError):
    """The bytes are not a valid Binary HTTP message (RFC 9292 §4), or are over a limit."""


class KeyConfigError(SealingError):
    """The bytes are not a valid list of key configurations (RFC 9458 §3), or none is usable."""


class UnknownKey(SealingError):
    """The encapsulated request names a key that this server does not hold.

    The one failure of opening that a client may be told apart: RFC 9458 §5.3 has a problem type
    for it, and the key id travels in the clear anyway.
    """


class OpenRejected(SealingError):
    """The encapsulated message could not be opened. There is deliberately no reason."""

    def __init__(self) -> None:
        super().__init__("the encapsulated message could not be opened")
