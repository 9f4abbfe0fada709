"""The protocol of a sealing client, without input or output (sans-I/O; docs/protocol.md §3).

`Session.verify` and `Session.exchange` are generators: they yield requests and receive responses.
The synchronous and the asynchronous client drive the same generators, so that the order of checks
is defined in one place.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

from blindgate import problems, routes
from blindgate.attestation import AttestationError, UserData, verify
from blindgate.attestation.cose import MAX_DOCUMENT
from blindgate.client.errors import AnswerRejected, VerificationFailed
from blindgate.client.request import (
    GatewayRequest,
    GatewayResponse,
    Response,
    inner_fields,
    is_problem,
    outer_fields,
    unsealed_problem,
)
from blindgate.printable import printable
from blindgate.sealing import bhttp, keys, ohttp, padding
from blindgate.sealing.errors import BinaryHttpError, OpenRejected, SealingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blindgate.attestation import Attestation, Trust
    from blindgate.sealing.fields import Fields

#: Verify again after this time, which is half the time that an enclave keeps its retired keys.
VERIFY_AGAIN_S: Final = 3600.0
#: Bytes; the gateway accepts 16 to 64.
NONCE_SIZE: Final = 32
#: Bytes of the largest response that is read from a gateway: its content, nonce and tag.
MAX_RESPONSE: Final = padding.ANSWER_BUCKETS[-1] + 64
_SEALED_TYPES: Final = (
    ("content-type", routes.OHTTP_REQUEST_TYPE),
    ("accept", routes.OHTTP_RESPONSE_TYPE),
)
_LIMITS: Final = bhttp.Limits(content=padding.ANSWER_BUCKETS[-1])


@dataclass(frozen=True, slots=True)
class VerifiedEnclave:
    """An enclave that was verified, and the key to seal to.

    Attributes:
        config: The key configuration; the document binds it.
        attestation: The contents of the verified attestation document.
        user_data: The digests that it binds: keys, model manifest, measured configuration.
        verified_at: Monotonic seconds.
    """

    config: keys.KeyConfig
    attestation: Attestation
    user_data: UserData
    verified_at: float


@dataclass(frozen=True, slots=True)
class Renew:
    """The exchange needs a verified enclave; not `stale`, if that is set."""

    stale: VerifiedEnclave | None
    headers: tuple[tuple[str, str], ...]


class Session:
    """One gateway, one trust policy, and the enclave that was verified last.

    Args:
        trust: The trust policy.
        clock: Seconds since the epoch.
        monotonic: Seconds of a clock that is never set back.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trust = trust
        self.enclave: VerifiedEnclave | None = None
        self._clock = clock
        self._monotonic = monotonic
        #: Seconds to add to our clock for a request's Date; only the enclave may set it.
        self._clock_offset = 0.0

    def usable(self, stale: VerifiedEnclave | None) -> VerifiedEnclave | None:
        """The verified enclave, or None if there is none, it is `stale` or has expired."""
        enclave = self.enclave
        if enclave is None or enclave is stale:
            return None
        fresh = self._monotonic() - enclave.verified_at < VERIFY_AGAIN_S
        return enclave if fresh else None

    def verify(
        self, headers: tuple[tuple[str, str], ...]
    ) -> Generator[GatewayRequest, GatewayResponse, VerifiedEnclave]:
        """Fetch keys and an attestation document, verify them, and keep the enclave.

        Args:
            headers: Header fields for the gateway, such as credentials.

        Raises:
            VerificationFailed: The enclave is not one that we trust.
            ProblemError: The gateway has no enclave to offer.
        """
        self.enclave = None
        # Keys may rotate, or another enclave may respond, between the two requests: retry once.
        for is_last in (False, True):
            response = yield GatewayRequest(
                routes.GET_OHTTP_KEYS.method,
                routes.GET_OHTTP_KEYS.path,
                (*headers, ("accept", routes.OHTTP_KEYS_TYPE)),
            )
            body = _expect(response, routes.OHTTP_KEYS_TYPE)
            try:
                config = keys.choose(keys.decode_list(body))
            except SealingError as error:
                raise VerificationFailed(f"the key configurations: {error}") from error
            nonce = new_nonce()
            response = yield document_request(nonce, headers, key_id=config.key_id)
            if not is_last and is_problem(problems.OHTTP_KEY, response.status, response.content):
                continue
            enclave = self._verify_document(attestation_document(response), nonce, config)
            if enclave.user_data.keys == hashlib.sha256(body).digest():
                self.enclave = enclave
                return enclave
        raise VerificationFailed("the attestation document does not bind the keys of the gateway")

    def exchange(
        self, request: httpx.Request, content: bytes
    ) -> Generator[GatewayRequest | Renew, GatewayResponse | VerifiedEnclave, Response]:
        """Seal one request, send it, open its response.

        Args:
            request: Method, URL and header fields; the fields are split between inside and
                outside the seal.
            content: Its body.

        Raises:
            AnswerRejected: The response does not belong to this request.
        """
        outer, inner = outer_fields(request.headers), inner_fields(request.headers)
        stale: VerifiedEnclave | None = None
        rejected: GatewayResponse | None = None
        is_adjusted = False
        while True:
            enclave = yield Renew(stale, outer)
            assert isinstance(enclave, VerifiedEnclave)  # noqa: S101 - the driver's half
            if rejected is not None and stale is not None and enclave.config == stale.config:
                return unsealed_problem(rejected)
            sealed = self._seal(enclave, request, inner, content)
            response = yield GatewayRequest(
                routes.SEND_SEALED.method,
                routes.SEND_SEALED.path,
                (*outer, *_SEALED_TYPES),
                sealed.encapsulated,
            )
            assert isinstance(response, GatewayResponse)  # noqa: S101 - the driver's half
            status, problem = response.status, response.content
            if status == 200 and response.media_type == routes.OHTTP_RESPONSE_TYPE:
                opened = _open(sealed.response, response.content)
                if is_adjusted or not is_problem(
                    problems.OHTTP_DATE, opened.status, opened.content
                ):
                    return opened
                is_adjusted = self._adjust_clock(opened)
                if not is_adjusted:
                    return opened
            elif status < 400:
                raise AnswerRejected(
                    f"the gateway responded with status {status}, but with no sealed response"
                )
            elif stale is None and is_problem(problems.OHTTP_KEY, status, problem):
                stale = enclave
            elif stale is None and is_problem(problems.OHTTP_REJECTED, status, problem):
                # There are 256 key ids: a newer enclave may have a key with the same id.
                stale, rejected = enclave, response
            else:
                return unsealed_problem(response)

    def _verify_document(
        self, document: bytes, nonce: bytes, config: keys.KeyConfig
    ) -> VerifiedEnclave:
        now = datetime.fromtimestamp(self._clock(), UTC)
        try:
            attestation = verify(document, trust=self.trust, nonce=nonce, now=now)
            user_data = UserData.decode(attestation.user_data)
        except AttestationError as error:
            raise VerificationFailed(str(error)) from error
        return VerifiedEnclave(config, attestation, user_data, self._monotonic())

    def _seal(
        self, enclave: VerifiedEnclave, request: httpx.Request, inner: Fields, content: bytes
    ) -> ohttp.SealedRequest:
        date = formatdate(self._clock() + self._clock_offset, usegmt=True)
        message = bhttp.Request(
            request.method,
            request.url.scheme,
            request.url.netloc.decode("ascii"),
            request.url.raw_path.decode("ascii"),
            (*inner, ("date", date)),
            content,
        )
        plain = message.encode()
        return ohttp.seal_request(
            enclave.config, plain.ljust(padding.request_size(len(plain)), b"\0")
        )

    def _adjust_clock(self, response: Response) -> bool:
        """Adopt the enclave's clock (RFC 9458 §6.5.2); False if the response has no Date."""
        try:
            theirs = parsedate_to_datetime(response.header("date") or "").timestamp()
        except ValueError:
            return False
        self._clock_offset = theirs - self._clock()
        return True


def new_nonce() -> bytes:
    """A nonce for one attestation document."""
    return secrets.token_bytes(NONCE_SIZE)


def document_request(
    nonce: bytes, headers: tuple[tuple[str, str], ...] = (), *, key_id: int | None = None
) -> GatewayRequest:
    """The request for an attestation document.

    Args:
        nonce: 16 to 64 bytes, never used before; the document repeats it.
        headers: Header fields for the gateway, such as credentials.
        key_id: The OHTTP key whose enclave is to be attested; any enclave if None.
    """
    encoded = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    query = f"nonce={encoded}" + ("" if key_id is None else f"&key_id={key_id}")
    path = f"{routes.ATTEST.path}?{query}"
    return GatewayRequest(routes.ATTEST.method, path, (*headers, ("accept", routes.COSE)))


def attestation_document(response: GatewayResponse) -> bytes:
    """The attestation document of a response, not verified yet.

    Raises:
        VerificationFailed: The response holds no document, or one that is too long.
        ProblemError: The gateway has no enclave to offer.
    """
    document = _expect(response, routes.COSE)
    declared = Message()
    declared["content-type"] = response.headers["content-type"]
    if declared.get_param("cose-type") not in (None, "cose-sign1"):  # RFC 9052 §10.3
        raise VerificationFailed("the gateway responded with a COSE message of another type")
    if len(document) > MAX_DOCUMENT:
        raise VerificationFailed(f"the attestation document is longer than {MAX_DOCUMENT} bytes")
    return document


def _open(opener: ohttp.ResponseOpener, content: bytes) -> Response:
    try:
        response = bhttp.decode_response(opener.open(content), _LIMITS)
    except (OpenRejected, BinaryHttpError) as error:
        raise AnswerRejected("the response was not sealed for this request") from error
    return Response(response.status, response.headers, bytes(response.content), sealed=True)


def _expect(response: GatewayResponse, media_type: str) -> bytes:
    """The content of a response that must be 200 with this media type."""
    if response.status >= 400:
        raise unsealed_problem(response).problem()
    if 300 <= response.status < 400 and (location := response.headers.get("location")):
        raise VerificationFailed(
            f"the gateway redirects to {printable(location)[:200]}, which is not followed: "
            "give the address of the gateway itself"
        )
    if response.status != 200 or response.media_type != media_type:
        raise VerificationFailed(
            f"the gateway responded with status {response.status} and "
            f"{printable(response.media_type) or 'no type'} instead of {media_type}: is it a "
            "Blindgate gateway?"
        )
    return response.content
