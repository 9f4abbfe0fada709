"""What a caller of the SDK may have to handle.

Every one is a `BlindgateError`. Those that an httpx transport raises are `httpx.TransportError`s
too, so that code written for httpx handles a refusal like any failure to get an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClientError(BlindgateError):
    """Base of the errors of the SDK."""


class VerificationFailed(ClientError, httpx.TransportError):
    """The enclave could not be verified, so nothing was sent to it.

    Do not retry in a loop: either the deployment changed and `trust` needs the new release's
    measurements, or somebody is in the way. `__cause__` is the rule that was broken.
    """


class AnswerRejected(ClientError, httpx.TransportError):
    """What came back is neither an answer sealed for this request nor a problem.

    The request may have been handled.
    """


class GatewayUnreachable(ClientError):
    """No answer from the gateway: connection refused, time-out, broken off."""


class NotSealed(ClientError, httpx.TransportError):
    """The request goes somewhere else than to the gateway, so it was not sent at all."""


class ProblemError(ClientError):
    """The service answered with a problem (RFC 9457).

    Attributes:
        type: The stable URI that programs compare; `about:blank` if there was no body to read.
        status: The HTTP status code.
        title: What happened.
        detail: What to do next, or words about this occurrence.
        members: The whole problem object.
        retry_after: Seconds to wait before trying again, if the service said so.
        sealed: Whether the enclave said it. A problem outside the seal is the gateway's word.
    """

    def __init__(
        self,
        status: int,
        members: Mapping[str, Any],
        *,
        sealed: bool,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.members = dict(members)
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", f"HTTP status {status}"))
        self.detail = str(members.get("detail", ""))
        self.sealed = sealed
        self.retry_after = retry_after
        super().__init__(f"{self.title} ({status})" + (f": {self.detail}" if self.detail else ""))

    @property
    def slug(self) -> str:
        """The last part of the type, such as `image-rejected`."""
        return self.type.rsplit(":", 1)[-1].rsplit("#", 1)[-1]
