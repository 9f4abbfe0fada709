"""What a sealing client does, in order, without doing any input or output.

`Session.verify` and `Session.exchange` are generators: they yield what must be sent and are
given what came back. The synchronous and the asynchronous clients drive the same ones, so
there is one place where the order of checks is written (docs/protocol.md §3).
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

from blindgate import problems
from blindgate.attestation import AttestationError, UserData, verify
from blindgate.client.errors import AnswerRejected, VerificationFailed
from blindgate.client.messages import (
    Answer,
    Outgoing,
    Reply,
    inner_fields,
    is_problem,
    outer_fields,
    outside,
)
from blindgate.printable import printable
from blindgate.sealing import bhttp, keys, ohttp, padding
from blindgate.sealing.errors import BinaryHttpError, OpenRejected, SealingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blindgate.attestation import Attestation, Trust
    from blindgate.sealing.fields import Fields

GATEWAY_PATH: Final = "/.well-known/ohttp-gateway"
ATTESTATION_PATH: Final = "/v1/attestation"
ATTESTATION_TYPE: Final = "application/cose"

#: Verify anew after this long, half the overlap for which an enclave keeps its retired keys.
VERIFY_AGAIN_S: Final = 3600.0
NONCE_SIZE: Final = 32
#: Nothing larger is read from a gateway: the largest answer, its nonce and its tag.
MAX_REPLY: Final = padding.ANSWER_BUCKETS[-1] + 64
_LIMITS: Final = bhttp.Limits(content=padding.ANSWER_BUCKETS[-1])


@dataclass(frozen=True, slots=True)
class VerifiedEnclave:
    """An enclave that was verified, and the key to seal to.

    Attributes:
        config: The key configuration; the document binds it.
        attestation: What the document vouches for.
        user_data: The digests it binds: keys, model manifest, measured configuration.
        verified_at: Monotonic seconds.
    """

    config: keys.KeyConfig
    attestation: Attestation
    user_data: UserData
    verified_at: float


@dataclass(frozen=True, slots=True)
class Renew:
    """The exchange needs a verified enclave: another one than `stale`, if that is given."""

    stale: VerifiedEnclave | None
    headers: tuple[tuple[str, str], ...]


class Session:
    """One gateway, one trust policy, and the enclave that was verified last.

    Args:
        trust: What to trust.
        clock: Seconds since the epoch.
        monotonic: Seconds that never go back.
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
        #: What to add to our clock for a request's Date; only the enclave may set it.
        self._clock_offset = 0.0

    def usable(self, stale: VerifiedEnclave | None) -> VerifiedEnclave | None:
        """The verified enclave, unless there is none, it is `stale`, or it is too long ago."""
        enclave = self.enclave
        if enclave is None or enclave is stale:
            return None
        fresh = self._monotonic() - enclave.verified_at < VERIFY_AGAIN_S
        return enclave if fresh else None

    def verify(
        self, headers: tuple[tuple[str, str], ...]
    ) -> Generator[Outgoing, Reply, VerifiedEnclave]:
        """Fetch keys and a document, verify, and keep the enclave.

        Args:
            headers: What the gateway wants to see, such as credentials.

        Raises:
            VerificationFailed: The enclave is not one that we trust.
            ProblemError: The gateway has none to offer.
        """
        self.enclave = None
        # Keys may rotate, or another enclave may answer, between the two requests: once more.
        for last in (False, True):
            reply = yield Outgoing("GET", GATEWAY_PATH, (*headers, ("accept", keys.MEDIA_TYPE)))
            body = _expect(reply, keys.MEDIA_TYPE)
            try:
                config = keys.choose(keys.decode_list(body))
            except SealingError as error:
                raise VerificationFailed(f"the key configurations: {error}") from error
            nonce = os.urandom(NONCE_SIZE)
            encoded = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
            path = f"{ATTESTATION_PATH}?nonce={encoded}&key_id={config.key_id}"
            reply = yield Outgoing("GET", path, (*headers, ("accept", ATTESTATION_TYPE)))
            if not last and is_problem(problems.OHTTP_KEY, reply.status, reply.content):
                continue
            document = _expect(reply, ATTESTATION_TYPE)
            enclave = self._check(document, nonce, config)
            if enclave.user_data.keys == hashlib.sha256(body).digest():
                self.enclave = enclave
                return enclave
        raise VerificationFailed("the enclave does not vouch for the keys that the gateway gave")

    def exchange(
        self, request: httpx.Request, content: bytes
    ) -> Generator[Outgoing | Renew, Reply | VerifiedEnclave, Answer]:
        """Seal one request, send it, open its answer.

        Args:
            request: Method, URL and header fields; its fields are split between inside and
                outside.
            content: Its body.

        Raises:
            AnswerRejected: What came back is no answer to this request.
        """
        outer, inner = outer_fields(request.headers), inner_fields(request.headers)
        stale: VerifiedEnclave | None = None
        rejected: Reply | None = None
        adjusted = False
        while True:
            enclave = yield Renew(stale, outer)
            assert isinstance(enclave, VerifiedEnclave)  # noqa: S101 - the driver's half
            if rejected is not None and stale is not None and enclave.config == stale.config:
                return outside(rejected)
            sealed = self._seal(enclave, request, inner, content)
            reply = yield Outgoing(
                "POST",
                GATEWAY_PATH,
                (*outer, ("content-type", ohttp.REQUEST_TYPE), ("accept", ohttp.RESPONSE_TYPE)),
                sealed.encapsulated,
            )
            assert isinstance(reply, Reply)  # noqa: S101 - the driver's half
            if reply.status == 200 and reply.media_type == ohttp.RESPONSE_TYPE:
                answer = _open(sealed.response, reply.content)
                if adjusted or not is_problem(problems.OHTTP_DATE, answer.status, answer.content):
                    return answer
                adjusted = self._adjust(answer)
                if not adjusted:
                    return answer
            elif reply.status < 400:
                raise AnswerRejected(
                    f"the gateway answered with status {reply.status} and no sealed answer"
                )
            elif stale is None and is_problem(problems.OHTTP_KEY, reply.status, reply.content):
                stale = enclave
            elif stale is None and is_problem(problems.OHTTP_REJECTED, reply.status, reply.content):
                # There are 256 key ids: the key of an enclave that came since may have ours.
                stale, rejected = enclave, reply
            else:
                return outside(reply)

    def _check(self, document: bytes, nonce: bytes, config: keys.KeyConfig) -> VerifiedEnclave:
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

    def _adjust(self, answer: Answer) -> bool:
        """Set our idea of the enclave's clock (RFC 9458 §6.5.2); False if it does not say."""
        try:
            theirs = parsedate_to_datetime(answer.header("date") or "").timestamp()
        except ValueError:
            return False
        self._clock_offset = theirs - self._clock()
        return True


def _open(opener: ohttp.ResponseOpener, content: bytes) -> Answer:
    try:
        response = bhttp.decode_response(opener.open(content), _LIMITS)
    except (OpenRejected, BinaryHttpError) as error:
        raise AnswerRejected("the answer was not sealed for this request") from error
    return Answer(response.status, response.headers, bytes(response.content), sealed=True)


def _expect(reply: Reply, media_type: str) -> bytes:
    if reply.status >= 400:
        raise outside(reply).problem()
    if 300 <= reply.status < 400 and (elsewhere := reply.headers.get("location")):
        raise VerificationFailed(
            f"the gateway redirects to {printable(elsewhere)[:200]}, which is not followed: "
            "give the address of the gateway itself"
        )
    if reply.status != 200 or reply.media_type != media_type:
        raise VerificationFailed(
            f"the gateway answered with status {reply.status} and "
            f"{printable(reply.media_type) or 'no type'} where {media_type} should be: is it a "
            "Blindgate gateway?"
        )
    return reply.content
