"""Why an AWS Encryption SDK message is not opened.

These classes are for logs of a developer and for tests. A service that opens messages of others
answers each of them with the same error: the difference would tell an attacker what to change.
"""

from __future__ import annotations

from blindgate.errors import BlindgateError


class MessageError(BlindgateError):
    """A message was not opened, and nothing of its content was released."""


class UnsupportedMessage(MessageError):
    """The version, the algorithm suite or the content type is not one of those that are opened."""


class MalformedMessage(MessageError):
    """The bytes do not have the structure that the specification prescribes."""


class MessageOverLimit(MessageError):
    """The message is valid so far, but over a limit of the reader."""


class MessageNotAuthentic(MessageError):
    """The data key, the key commitment, an authentication tag or the signature does not match."""
