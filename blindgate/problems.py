"""The catalogue of problems (RFC 9457) that a client can meet, shared by gateway and worker.

The gateway answers with them over HTTP, the worker inside a sealed answer, and
`docs/errors.md` is written from this table. Types are stable names, not addresses: RFC 9457
§3.1.1 allows URIs that resolve to nothing. The two of RFC 9458 §8 are registered with IANA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

#: Media type of a problem, RFC 9457 §3.
MEDIA_TYPE: Final = "application/problem+json"

_BASE: Final = "urn:blindgate:problem:"
_IANA: Final = "https://iana.org/assignments/http-problem-types#"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem.

    Attributes:
        type: The stable URI that programs compare.
        status: The HTTP status code that it travels with.
        title: What happened, the same words every time.
        advice: What the caller does next.
    """

    type: str
    status: int
    title: str
    advice: str

    @property
    def slug(self) -> str:
        """The last part of the type: what logs, metrics and link outcomes call this problem."""
        return self.type.rsplit(":", 1)[-1].rsplit("#", 1)[-1]

    def body(self, detail: str | None = None, **members: object) -> dict[str, Any]:
        """The problem as a JSON object.

        Args:
            detail: Words about this occurrence; the advice of the catalogue if left out.
            **members: Extension members (RFC 9457 §3.2), such as `errors` or `request_id`.

        Returns:
            A mapping that encodes as `application/problem+json`.
        """
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": detail or self.advice,
            **members,
        }


def _own(slug: str, status: int, title: str, advice: str) -> Problem:
    return Problem(_BASE + slug, status, title, advice)


INVALID_REQUEST = _own(
    "invalid-request",
    422,
    "A parameter is not valid",
    "Correct the parameters that `errors` names and send the request again.",
)
MALFORMED_REQUEST = _own(
    "malformed-request",
    400,
    "The request is not valid HTTP/1.1",
    "Send the request with an HTTP library that follows RFC 9112.",
)
EMPTY_BODY = _own(
    "empty-body",
    400,
    "The request has no body",
    "Send the bytes of one envelope, for example with curl --data-binary @FILE.encrypted.",
)
UNSUPPORTED_MEDIA_TYPE = _own(
    "unsupported-media-type",
    415,
    "The media type is not one that this endpoint takes",
    "Set the Content-Type that the API documentation names for this endpoint.",
)
NOT_ACCEPTABLE = _own(
    "not-acceptable",
    406,
    "No answer exists in the media type asked for",
    "Ask for one of the media types that the API documentation names.",
)
BODY_TOO_LARGE = _own(
    "body-too-large",
    413,
    "The body is over the size limit",
    "Send at most `limit` bytes: a smaller or more strongly compressed image.",
)
UPLOAD_INCOMPLETE = _own(
    "upload-incomplete",
    400,
    "The body ended before it was complete",
    "Send the request again.",
)
UPLOAD_TIMEOUT = _own(
    "upload-timeout",
    408,
    "The body came too slowly",
    "Send the request again over a faster connection, or send a smaller image.",
)
ENVELOPE_REJECTED = _own(
    "envelope-rejected",
    422,
    "The envelope could not be opened",
    "Encrypt the image again, under a key and with an encryption context that this deployment "
    "uses: with `blindgate encrypt`, or with an AWS Encryption SDK that commits to the key "
    "(version 2 of the message format).",
)
KMS_REFUSED = _own(
    "kms-refused",
    403,
    "KMS refused to release the data key to this enclave",
    "Ask the owner of the key to check its policy against this enclave's measurements.",
)
IMAGE_REJECTED = _own(
    "image-rejected",
    422,
    "The content is not an image that can be used",
    "Send one whole JPEG, PNG or WebP image within the documented limits.",
)
IMAGE_TOO_LARGE = _own(
    "image-too-large",
    413,
    "The image is over a limit",
    "Send a smaller image: `max_pixels`, `max_side` and `max_bytes` are the limits.",
)
SEALED_ANSWERS_ONLY = _own(
    "sealed-answers-only",
    403,
    "This enclave gives sealed answers only",
    "Send the request through the OHTTP gateway, as `blindgate detect` does by default.",
)
OHTTP_REJECTED = _own(
    "ohttp-rejected",
    400,
    "The encapsulated request could not be opened",
    "Seal the request anew with the enclave's current key configuration.",
)
OHTTP_KEY = Problem(
    _IANA + "ohttp-key",
    400,
    "The key configuration is not known",
    "Fetch the key configurations, verify the enclave and seal the request anew.",
)
OHTTP_DATE = Problem(
    _IANA + "date",
    400,
    "The date in the sealed request is not acceptable",
    "Set the clock by the Date of this answer and send the request again.",
)
UNAUTHORIZED = _own(
    "unauthorized",
    401,
    "Credentials are missing or not valid",
    "Send an API key or a bearer token that this deployment accepts.",
)
FORBIDDEN = _own(
    "forbidden",
    403,
    "These credentials do not allow this",
    "Use credentials with the scope that `scope` names.",
)
NOT_FOUND = _own(
    "not-found", 404, "There is nothing here", "See /docs for the endpoints of this service."
)
METHOD_NOT_ALLOWED = _own(
    "method-not-allowed",
    405,
    "This endpoint does not take this method",
    "Use one of the methods in the Allow header.",
)
URI_TOO_LONG = _own(
    "uri-too-long",
    414,
    "The URL is over the size limit",
    "Send at most 16,384 bytes of path and query.",
)
HEADER_TOO_LARGE = _own(
    "header-too-large",
    431,
    "The header of the request is over the size limit",
    "Send at most 100 fields and 32,768 bytes.",
)
NOT_IMPLEMENTED = _own(
    "not-implemented",
    501,
    "The transfer coding is not supported",
    "Send the body with Content-Length, or with `Transfer-Encoding: chunked` alone.",
)
HTTP_VERSION = _own(
    "http-version",
    505,
    "The HTTP version is not supported",
    "Send the request as HTTP/1.1.",
)
CROSS_ORIGIN_REFUSED = _own(
    "cross-origin-refused",
    403,
    "Pages of this origin may not send this request",
    "Ask the operator to allow the origin, or call from a program instead of a web page.",
)
RATE_LIMITED = _own(
    "rate-limited",
    429,
    "Too many requests",
    "Wait for the time in Retry-After, then go on more slowly.",
)
INTERNAL_ERROR = _own(
    "internal-error",
    500,
    "Something failed on our side",
    "Try again; if it stays, give the request id to the operator.",
)
ENCLAVE_UNAVAILABLE = _own(
    "enclave-unavailable",
    503,
    "No verified enclave is available",
    "Try again after the time in Retry-After.",
)
SIGN_IN_UNAVAILABLE = _own(
    "sign-in-unavailable",
    503,
    "Credentials cannot be checked now",
    "Try again after the time in Retry-After, or use an API key.",
)
KMS_UNAVAILABLE = _own(
    "kms-unavailable",
    503,
    "KMS did not answer",
    "Try again after the time in Retry-After.",
)
OVERLOADED = _own(
    "overloaded",
    503,
    "Too much is waiting already",
    "Try again after the time in Retry-After.",
)
DEADLINE_EXCEEDED = _own(
    "deadline-exceeded",
    504,
    "The request was not finished in time",
    "Try again, or allow more time with the Request-Timeout header.",
)

#: Every problem there is, in the order of their status codes.
CATALOGUE: Final[tuple[Problem, ...]] = tuple(
    sorted(
        (value for value in list(globals().values()) if isinstance(value, Problem)),
        key=lambda problem: (problem.status, problem.type),
    )
)
BY_SLUG: Final[dict[str, Problem]] = {problem.slug: problem for problem in CATALOGUE}
