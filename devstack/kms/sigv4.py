"""AWS Signature Version 4, from the server's side.

AWS, IAM User Guide, "Create a signed AWS API request". KMS takes the signature in the
Authorization header only, with five minutes of clock skew; query-string signatures and SigV4a
are refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from devstack.kms.errors import KmsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devstack.kms.principals import Principal, Principals

_ALGORITHM = "AWS4-HMAC-SHA256"
_STAMP = "%Y%m%dT%H%M%SZ"
_SKEW = timedelta(minutes=5)
_TOKEN_INVALID = "The security token included in the request is invalid."  # noqa: S105
_PARTS = ("Credential", "SignedHeaders", "Signature")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers.

    Attributes:
        method: HTTP method.
        path: Path as sent; KMS has only `/`.
        query: Query string as sent, which is empty for KMS.
        headers: Header values by lower-case name.
        body: The raw body.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def authenticate(
    request: SignedRequest, *, principals: Principals, region: str, now: datetime
) -> Principal:
    """Find out who signed a request.

    Args:
        request: The request as received.
        principals: Who may call.
        region: The region in which the credentials must be scoped.
        now: The server's time.

    Returns:
        The principal whose secret made the signature.

    Raises:
        KmsError: MissingAuthenticationTokenException, IncompleteSignatureException,
            UnrecognizedClientException, ExpiredTokenException or InvalidSignatureException.
    """
    parts = _authorization(request.headers.get("authorization"))
    scope = parts["Credential"].split("/")
    if len(scope) != 5 or scope[4] != "aws4_request":
        raise _incomplete("Credential must have exactly 5 slash-delimited elements")
    key_id, date, scoped_region, service, _ = scope
    signed_at = _signed_at(request.headers.get("x-amz-date"))
    _check_scope(date, scoped_region, service, region, signed_at)
    signed_headers = parts["SignedHeaders"].split(";")
    _check_signed_headers(signed_headers, request.headers)

    principal = principals.find(key_id)
    token = request.headers.get("x-amz-security-token")
    if principal is None or not _same(principal.session_token or "", token or ""):
        raise KmsError("UnrecognizedClientException", _TOKEN_INVALID)
    _check_clock(signed_at, now)
    expected = _signature(request, principal, scope[1:], signed_headers)
    if not _same(expected, parts["Signature"]):
        raise KmsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service "
            "documentation for details.",
        )
    if principal.expires is not None and now >= principal.expires:
        raise KmsError(
            "ExpiredTokenException", "The security token included in the request is expired"
        )
    return principal


def _authorization(header: str | None) -> dict[str, str]:
    if not header:
        raise KmsError("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    if algorithm != _ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:32]}'")
    parts = dict(item.strip().partition("=")[::2] for item in rest.split(","))
    missing = [name for name in _PARTS if not parts.get(name)]
    if missing:
        raise _incomplete(
            " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        )
    return parts


def _incomplete(text: str) -> KmsError:
    return KmsError("IncompleteSignatureException", text)


def _wrong(text: str) -> KmsError:
    return KmsError("InvalidSignatureException", text)


def _signed_at(stamp: str | None) -> datetime:
    if stamp is None:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{stamp[:32]}'.")
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise _incomplete(f"'{stamp}' is no date.") from None


def _check_scope(
    date: str, scoped_region: str, service: str, region: str, signed_at: datetime
) -> None:
    if service != "kms":
        raise _wrong("Credential should be scoped to correct service: 'kms'.")
    if scoped_region != region:
        raise _wrong(f"Credential should be scoped to a valid region, not '{scoped_region[:32]}'. ")
    day = signed_at.strftime("%Y%m%d")
    if date != day:
        raise _wrong(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
            f"from HTTP: '{date[:8]}' != '{day}', from '{signed_at.strftime(_STAMP)}'."
        )


def _check_signed_headers(signed: list[str], headers: Mapping[str, str]) -> None:
    # A header that AWS acts upon and that the signature leaves out could be changed on the way.
    needed = ["host", *(name for name in headers if name.startswith("x-amz-"))]
    for name in needed:
        if name not in signed:
            raise _wrong(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    if signed != sorted(set(signed)) or any(name not in headers for name in signed):
        raise _wrong("SignedHeaders must be sorted, unique and present.")


def _check_clock(signed_at: datetime, now: datetime) -> None:
    at, here = signed_at.strftime(_STAMP), now.strftime(_STAMP)
    if signed_at < now - _SKEW:
        limit = (now - _SKEW).strftime(_STAMP)
        raise _wrong(f"Signature expired: {at} is now earlier than {limit} ({here} - 5 min.)")
    if signed_at > now + _SKEW:
        limit = (now + _SKEW).strftime(_STAMP)
        raise _wrong(
            f"Signature not yet current: {at} is still later than {limit} ({here} + 5 min.)"
        )


def _signature(
    request: SignedRequest, principal: Principal, scope: list[str], signed: list[str]
) -> str:
    canonical = "\n".join(
        (
            request.method,
            request.path or "/",
            request.query,
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    to_sign = "\n".join(
        (
            _ALGORITHM,
            request.headers["x-amz-date"],
            "/".join(scope),
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = b"AWS4" + principal.secret_access_key.encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
