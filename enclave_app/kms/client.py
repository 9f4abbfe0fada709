"""KMS as the enclave uses it: Decrypt for an attested recipient, and nothing else.

Each call shows KMS a fresh attestation document; KMS encrypts the data key to the RSA key in it.
What comes back is believed only as far as it was asked for: the pinned key, no plaintext, this
recipient. KMS's own words stay in here: a caller learns that KMS refused, or is not available.
Operators also learn whether the clock is the cause (`diagnosis`).
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from blindgate.attestation.user_data import KMS_USER_DATA
from blindgate.link import Address
from blindgate.link.dial import dial as dial_link
from enclave_app.kms import cms
from enclave_app.kms.credentials import Credentials, CredentialStore
from enclave_app.kms.diagnosis import ClockState, Diagnosis, skew_of
from enclave_app.kms.endpoints import region_of
from enclave_app.kms.errors import (
    KmsAnswerRejected,
    KmsClockSkew,
    KmsError,
    KmsRefused,
    KmsUnavailable,
)
from enclave_app.kms.recipient_keys import RecipientKey, RecipientKeys
from enclave_app.kms.transport import KmsTransport, Reply, Unreached

#: The longest CiphertextBlob that KMS takes (API reference of Decrypt).
MAX_CIPHERTEXT_BLOB: Final = 6144
#: All attempts of one call together: a request's usual deadline is 30 s, and it waits for this.
CALL_SECONDS: Final = 8.0
#: Attempts for throttling, 5xx and broken connections; AWS's SDKs make 3, we have jitter to pay.
MAX_ATTEMPTS: Final = 4
#: Full jitter: a random part of 50, 100, 200 ms …, so that a herd spreads.
BACKOFF_SECONDS: Final = 0.05
BACKOFF_CAP_SECONDS: Final = 1.0
#: How long a call waits for the parent to push credentials: it asks for the status every 2 s.
CREDENTIALS_SECONDS: Final = 3.0
#: How often connections and the spare key are looked after.
UPKEEP_SECONDS: Final = 5.0

_OAEP_SHA256: Final = "RSAES_OAEP_SHA_256"
_THROTTLED: Final = frozenset(
    {"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"}
)
#: Refusals that KMS makes only after it has accepted the signature and its time.
_SIGNATURE_ACCEPTED: Final = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "IncorrectKeyException",
        "InvalidCiphertextException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)
#: What KMS says of credentials that are over: others may work (AWS common error types).
_EXPIRED: Final = frozenset(
    {"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"}
)


class Attests(Protocol):
    """The one thing that the client needs of the security module."""

    def attest(
        self,
        *,
        public_key: bytes | None = None,
        user_data: bytes | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        """Return a fresh attestation document."""


@dataclass(frozen=True, slots=True)
class KmsSettings:
    """What the measured configuration says about KMS.

    Attributes:
        key_arns: The only keys that are ever named in a request.
        hosts: KMS's host name in the region of each key, by region. It is checked against KMS's
            certificate; requests are signed for the region.
        address: The way out: the parent's vsock-proxy.
        ca_bundle: A PEM file with the only roots that count.
    """

    key_arns: tuple[str, ...]
    hosts: Mapping[str, str]
    address: Address
    ca_bundle: Path


@dataclass(frozen=True, slots=True)
class UnwrappedKey:
    """What Decrypt released.

    Attributes:
        plaintext: The data key.
        request_ids: KMS's own id of each response to the call, refusals that were retried among
            them, oldest first: for the parent's audit log. They say nothing about content: the
            parent has seen the calls pass, and CloudTrail lists them.
    """

    plaintext: bytes = field(repr=False)
    request_ids: tuple[str, ...] = ()


class KmsClient:
    """Asks KMS to unwrap data keys for this enclave. Safe for any number of threads.

    Args:
        settings: From the measured configuration.
        nsm: Makes attestation documents.
        credentials: What the parent pushed.
        dial: Opens a connection to an address within a time-out.
        clock: Monotonic seconds.
        sleep: Waits for some seconds.
        jitter: A random number in [0, 1); spreads retries, no secret depends on it.
        keys: Keys for answers.

    Raises:
        OSError: The CA bundle cannot be read.
        ssl.SSLError: It holds no certificate.
    """

    def __init__(
        self,
        settings: KmsSettings,
        nsm: Attests,
        credentials: CredentialStore,
        *,
        dial: Callable[[Address, float], socket.socket] = dial_link,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        keys: RecipientKeys | None = None,
    ) -> None:
        self._settings = settings
        self._nsm = nsm
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._keys = keys or RecipientKeys()
        self._diagnosis = Diagnosis(clock)
        roots = settings.ca_bundle.read_text()
        self._transports = {
            region: KmsTransport(
                host, roots, lambda timeout: dial(settings.address, timeout), clock
            )
            for region, host in settings.hosts.items()
        }
        self._closed = threading.Event()
        self._upkeep = threading.Thread(target=self._look_after, name="kms-upkeep", daemon=True)
        self._upkeep.start()

    @property
    def handshakes(self) -> int:
        """Connections to KMS that were opened so far."""
        return sum(each.handshakes for each in self._transports.values())

    @property
    def clock_state(self) -> ClockState:
        """This enclave's clock as KMS last judged it."""
        return self._diagnosis.clock_state

    def close(self) -> None:
        """Close the connections; the client takes no more calls."""
        self._closed.set()
        self._upkeep.join()
        for transport in self._transports.values():
            transport.close()

    def unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        timeout: float = CALL_SECONDS,
    ) -> UnwrappedKey:
        """Have a wrapped data key released to this enclave.

        Args:
            ciphertext_blob: 1 to 6144 bytes, opaque.
            encryption_context: Must equal the one that the key was wrapped with.
            key_arn: One of the pinned ARNs.
            timeout: Seconds for everything, CALL_SECONDS at most.

        Raises:
            KmsError: With the ids of KMS's responses, one of the following.
            KmsRefused: KMS says no.
            KmsUnavailable: KMS was not reached or its answer cannot be used, or there are no
                credentials that it takes; as `KmsClockSkew`, if the clock is the reason.
            ValueError: The ARN is not pinned, or the blob's length is out of range: the caller
                checks both first.
        """
        if key_arn not in self._settings.key_arns:
            raise ValueError("the key is not one of the pinned ones")
        if not 1 <= len(ciphertext_blob) <= MAX_CIPHERTEXT_BLOB:
            raise ValueError("no CiphertextBlob is that long")
        request_ids: list[str] = []
        try:
            plaintext = self._unwrap(
                ciphertext_blob, encryption_context, key_arn, timeout, request_ids
            )
        except KmsError as error:
            error.request_ids = tuple(request_ids)
            raise
        return UnwrappedKey(plaintext, tuple(request_ids))

    def _unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        timeout: float,
        request_ids: list[str],
    ) -> bytes:
        """The data key; adds the id of each response to `request_ids`."""
        region = region_of(key_arn)
        ends = self._clock() + min(timeout, CALL_SECONDS)
        credentials = self._credentials.current() or self._newer_credentials(None, ends)
        refreshed = False
        failed = 0
        while True:
            try:
                key = self._keys.take()
                reply = self._exchange(
                    self._body(ciphertext_blob, encryption_context, key_arn, key),
                    credentials,
                    region,
                    ends - self._clock(),
                )
            except Unreached:
                pass
            else:
                request_id = reply.request_id
                if request_id is not None:
                    request_ids.append(request_id)
                if reply.status == 200:
                    self._diagnosis.accepted()
                    return _data_key(reply, key, key_arn)
                kind, message = _error_of(reply.body)
                skew = skew_of(kind, message) if 400 <= reply.status < 500 else None
                if skew is not None:
                    self._diagnosis.skewed(skew, request_id)
                    raise KmsClockSkew
                if 400 <= reply.status < 500 and kind in _EXPIRED:
                    self._credentials.refused(credentials)
                    if refreshed:
                        raise KmsUnavailable
                    credentials = self._newer_credentials(credentials, ends)
                    refreshed = True
                    continue
                throttled = kind in _THROTTLED or reply.status == 429
                if 400 <= reply.status < 500 and not throttled:
                    if kind in _SIGNATURE_ACCEPTED:
                        self._diagnosis.accepted()
                    self._diagnosis.refused(request_id)
                    raise KmsRefused
                if reply.status < 500 and not throttled:
                    raise KmsAnswerRejected
            pause = self._pause(failed)
            failed += 1
            if failed == MAX_ATTEMPTS or self._clock() + pause >= ends:
                raise KmsUnavailable
            self._sleep(pause)

    def _pause(self, failed: int) -> float:
        return self._jitter() * min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * (1 << failed))

    def _newer_credentials(self, than: Credentials | None, ends: float) -> Credentials:
        wait = min(CREDENTIALS_SECONDS, max(0.0, ends - self._clock()))
        newer = self._credentials.wait_newer(than, wait)
        if newer is None:
            raise KmsUnavailable
        return newer

    def _body(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        key: RecipientKey,
    ) -> bytes:
        document = self._nsm.attest(public_key=key.spki, user_data=KMS_USER_DATA)
        request: dict[str, object] = {
            "CiphertextBlob": base64.b64encode(ciphertext_blob).decode(),
            "KeyId": key_arn,
            "Recipient": {
                "KeyEncryptionAlgorithm": _OAEP_SHA256,
                "AttestationDocument": base64.b64encode(document).decode(),
            },
        }
        if encryption_context:
            request["EncryptionContext"] = dict(encryption_context)
        return json.dumps(request).encode()

    def _exchange(
        self, body: bytes, credentials: Credentials, region: str, timeout: float
    ) -> Reply:
        if timeout <= 0:
            raise Unreached
        request = AWSRequest(
            method="POST",
            url=f"https://{self._settings.hosts[region]}/",
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "TrentService.Decrypt",
            },
            data=body,
        )
        signer = SigV4Auth(
            BotocoreCredentials(
                credentials.access_key_id,
                credentials.secret_access_key,
                credentials.session_token,
            ),
            "kms",
            region,
        )
        signer.add_auth(request)
        return self._transports[region].post(dict(request.headers.items()), body, timeout)

    def _look_after(self) -> None:
        while not self._closed.is_set():
            self._keys.replenish()
            for transport in self._transports.values():
                transport.close_idle()
            self._closed.wait(UPKEEP_SECONDS)


def _data_key(reply: Reply, key: RecipientKey, key_arn: str) -> bytes:
    """Check a successful answer against the request, and open it."""
    answer = _json_object(reply.body)
    wrapped = answer.get("CiphertextForRecipient")
    # With a Recipient, "the Plaintext field is null or empty" (API reference). One that is not
    # went through no recipient's key: whoever sent it may not be a KMS that checked us.
    if (
        answer.get("KeyId") != key_arn
        or answer.get("Plaintext") not in (None, "")
        or not isinstance(wrapped, str)
    ):
        raise KmsAnswerRejected
    try:
        return cms.decrypt(base64.b64decode(wrapped, validate=True), key.private)
    except (binascii.Error, ValueError, cms.CmsError):
        raise KmsAnswerRejected from None


def _error_of(body: bytes) -> tuple[str, str]:
    """The name and text of an AWS JSON 1.1 error.

    The name may come with a namespace in front of a `#`; IAM spells the text's key `Message`.
    """
    error = _json_object(body)
    kind, message = error.get("__type"), error.get("message", error.get("Message"))
    return (
        kind.rpartition("#")[2] if isinstance(kind, str) else "",
        message if isinstance(message, str) else "",
    )


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
