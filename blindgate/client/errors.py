"""What a caller of the SDK may have to handle.

Every one is a `BlindgateError`. Those that an httpx transport raises are `httpx.TransportError`s
too, so that code written for httpx handles a refusal like any failure to get an answer.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

from blindgate.errors import BlindgateError
from blindgate.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Entries of `errors` that a message lists; all of them are in `ProblemError.errors`.
_MAX_LISTED: Final = 5
#: The longest text of a service that a message repeats, in characters.
_MAX_TEXT: Final = 500


class ClientError(BlindgateError):
    """Base of the errors of the SDK."""


class InvalidGateway(ClientError, ValueError):
    """The gateway's address is not the URL of an origin. No password of it is in the message."""


class InvalidCredentials(ClientError, ValueError):
    """An API key or token that no service can accept. It is not in the message."""


class InvalidOptions(ClientError, ValueError):
    """An option of a detection is out of range; nothing was sent."""


class InvalidPhoto(ClientError, ValueError):
    """The content is not an image that the enclave opens; nothing was sent."""


class UnsupportedSource(ClientError, TypeError):
    """The object is none of the kinds that a photo can be given as; nothing was sent."""


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
        errors: What is wrong with each parameter, as the service lists it; often empty.
        request_id: What the operator's logs call the request, or None.
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
        listed = members.get("errors")
        self.errors: tuple[Mapping[str, Any], ...] = tuple(
            each for each in (listed if isinstance(listed, list) else ()) if isinstance(each, dict)
        )
        request_id = members.get("request_id")
        self.request_id = request_id if isinstance(request_id, str) else None
        self.sealed = sealed
        self.retry_after = retry_after
        super().__init__(self._message())

    def _message(self) -> str:
        """One line for a person, without characters that steer a terminal."""
        if not self.members:
            # A port for TLS answers plain HTTP with 400; proxies answer for a gateway with 502.
            scheme = ", and is http or https right" if self.status == HTTPStatus.BAD_REQUEST else ""
            return (
                f"HTTP status {self.status} without a problem document: is this a Blindgate "
                f"gateway{scheme}?"
            )
        # What `errors` says is what a general advice about it stands for.
        said = "; ".join(map(_fault, self.errors[:_MAX_LISTED])) or self.detail
        if (more := len(self.errors) - _MAX_LISTED) > 0:
            said += f"; and {more} more"
        title = f"{printable(self.title)[:_MAX_TEXT]} ({self.status})"
        return f"{title}: {printable(said)[:_MAX_TEXT]}" if said else title

    @property
    def slug(self) -> str:
        """The last part of the type, such as `image-rejected`."""
        return self.type.rsplit(":", 1)[-1].rsplit("#", 1)[-1]


class GatewayProblem(ProblemError, httpx.TransportError):
    """A problem that the gateway reported outside the seal.

    Only the enclave's own problems say anything about the photo: whoever is between the client
    and the enclave can make up this one.
    """


def _fault(entry: Mapping[str, Any]) -> str:
    named = (entry.get("parameter"), entry.get("message"))
    return ": ".join(str(part) for part in named if part)
