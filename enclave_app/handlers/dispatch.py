"""What the worker answers to each operation of the link (docs/link.md §5)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import cbor2
from pydantic import ValidationError

from blindgate import problems, routes
from blindgate.attestation.user_data import UserData
from blindgate.detections import (
    AnswerFormat,
    Detections,
    DetectOptions,
    ModelRef,
    describe_faults,
    largest_json,
    longest_label,
)
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.link import Operation, Outcome
from blindgate.oip import InferRequest, largest_answer
from blindgate.oip.tensors import Result
from blindgate.sealing.errors import OpenRejected, UnknownKey
from enclave_app import limits
from enclave_app.config import Measured
from enclave_app.detector.detector import DetectionRequest, Detector
from enclave_app.detector.errors import UnknownClass
from enclave_app.envelopes.opening import EnvelopeRejected
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest, SealedEndpoint, failed
from enclave_app.handlers.oip import answer_inference, oip_problem
from enclave_app.handlers.pipeline import Pipeline, Upload
from enclave_app.keys.keyring import Keyring
from enclave_app.kms.credentials import CredentialsError, CredentialStore
from enclave_app.kms.diagnosis import ClockState
from enclave_app.kms.errors import KmsRefused, KmsUnavailable
from enclave_app.link_server.server import Answer, Request
from enclave_app.nsm import Nsm
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded
from enclave_app.scheduling.worker_pool import WorkerPool

#: What a failure looks like from outside: its class, and never why.
FAILURES: Final[dict[type[Exception], Outcome]] = {
    EnvelopeRejected: Outcome.ENVELOPE_REJECTED,
    ImageRejected: Outcome.IMAGE_REJECTED,
    ImageTooLarge: Outcome.IMAGE_TOO_LARGE,
    KmsRefused: Outcome.KMS_REFUSED,
    KmsUnavailable: Outcome.KMS_UNAVAILABLE,
    Overloaded: Outcome.OVERLOADED,
    DeadlineExceeded: Outcome.DEADLINE_EXCEEDED,
    UnknownKey: Outcome.OHTTP_KEY,
    OpenRejected: Outcome.OHTTP_REJECTED,
    UnknownClass: Outcome.INVALID_REQUEST,
    ValidationError: Outcome.INVALID_REQUEST,
    CredentialsError: Outcome.INVALID_REQUEST,
}
_EXPECTED: Final = tuple(FAILURES)
#: What a drained worker leaves to others.
_WORK: Final = frozenset({Operation.DETECT, Operation.OHTTP})


@dataclass(slots=True)
class _Work:
    """What the gateway learns of a request's work, for its rate limits and its audit log.

    Attributes:
        passes: Passes of the detector that a sealed request asks for. Counted before an image is
            opened: what was asked for, and nothing of what was in it.
        kms_calls: KMS's ids of the calls that were made for the request.
    """

    passes: int = 0
    kms_calls: list[str] = field(default_factory=list)


class Service:
    """Answers requests; the one place that knows all parts of the worker.

    Args:
        measured: The configuration that is in the image.
        nsm: Signs the client-facing attestation document.
        keyring: The keys that clients seal to.
        credentials: What the parent pushes.
        sealed: Opens sealed requests.
        detector: Named in `status` and in the attestation document.
        compute: The threads that may burn CPU.
        pipeline: From an upload to detections.
        kms_clock: The enclave's clock as KMS last judged it, for `status`.
    """

    def __init__(
        self,
        *,
        measured: Measured,
        nsm: Nsm,
        keyring: Keyring,
        credentials: CredentialStore,
        sealed: SealedEndpoint,
        detector: Detector,
        compute: WorkerPool[DetectionRequest, Detections],
        pipeline: Pipeline,
        kms_clock: Callable[[], ClockState],
    ) -> None:
        self._measured = measured
        self._nsm = nsm
        self._keyring = keyring
        self._credentials = credentials
        self._sealed = sealed
        self._detector = detector
        self._compute = compute
        self._pipeline = pipeline
        self._kms_clock = kms_clock
        self._draining = threading.Event()
        self._longest_label = longest_label(detector.manifest.labels)
        self._operations: dict[Operation, Callable[[Request, _Work], Answer]] = {
            Operation.DETECT: self._detect,
            Operation.OHTTP: self._ohttp,
            Operation.ATTEST: self._attest,
            Operation.KEYS: self._keys,
            Operation.STATUS: self._status,
            Operation.CREDENTIALS: self._take_credentials,
            Operation.DRAIN: self._drain,
        }

    def drain(self) -> None:
        """Take no more work; what is in hand goes on."""
        self._draining.set()

    def handle(self, request: Request) -> Answer:
        """Answer one request of the link."""
        operation = request.header.operation
        if operation in _WORK:
            # Said before anything is opened, so that the gateway may ask another enclave.
            if self._draining.is_set():
                return Answer(Outcome.DRAINING)
            if not self._compute.has_room:
                return Answer(Outcome.OVERLOADED)
        work = _Work()
        try:
            answer = self._operations[operation](request, work)
        except _EXPECTED as error:
            answer = Answer(_class_of(error), _faults(error), _limits_of(error) or None)
        if work.kms_calls:
            answer = replace(answer, params={**(answer.params or {}), "kms": work.kms_calls})
        return answer

    def _detect(self, request: Request, work: _Work) -> Answer:
        if self._measured.config.answers != "open":
            return Answer(Outcome.SEALED_ANSWERS_ONLY)
        options = DetectOptions.model_validate(dict(request.header.params))
        upload = Upload(
            request.body,
            False,
            request.deadline,
            request.wanted,
            release=request.release,
            caller=request.header.caller,
            kms_calls=work.kms_calls,
        )
        return Answer(Outcome.OK, self._pipeline.detect(upload, options).to_json(options.format))

    def _ohttp(self, request: Request, work: _Work) -> Answer:
        def answer(inner: InnerRequest) -> InnerAnswer:
            return self._answer_sealed(inner, request, work)

        caller = request.header.caller
        sealed = self._sealed.open_and_answer(request.body, answer, caller=caller)
        return Answer(Outcome.OK, sealed, {"passes": max(work.passes, 1)})

    def _answer_sealed(self, inner: InnerRequest, outer: Request, work: _Work) -> InnerAnswer:
        """The same resources as outside, by the same paths; only the client reads the answer."""
        match = routes.find(inner.path)
        is_protocol = routes.is_protocol_path(match.route.path if match else inner.path)
        problem = oip_problem if is_protocol else InnerAnswer.of_problem
        if _is_coded(inner):
            answer = problem(
                problems.UNSUPPORTED_MEDIA_TYPE,
                "The sealed body has a Content-Encoding: send it without one.",
            )
            return replace(answer, headers=(("accept-encoding", "identity"),))
        if is_protocol:
            return self._infer(inner, match, outer, work)
        if match is None:
            return InnerAnswer.of_problem(problems.NOT_FOUND)
        if inner.method != match.route.method:
            return InnerAnswer.of_problem(problems.METHOD_NOT_ALLOWED)
        if match.route is routes.LIST_MODELS:
            return InnerAnswer(200, json.dumps({"models": [self._model()]}).encode())
        if not inner.content:
            return InnerAnswer.of_problem(problems.EMPTY_BODY)
        try:
            options = DetectOptions.from_query(inner.query)
            work.passes += options.passes
        except ValidationError as error:
            return InnerAnswer.of_problem(problems.INVALID_REQUEST, errors=describe_faults(error))
        if match.route is routes.DETECT_AS_SAMPLE:
            options = options.model_copy(update={"format": AnswerFormat.SAMPLE})
        # From here on all depends on the image: the length must not.
        room = largest_json(self._most(options), self._longest_label)
        return replace(self._detect_sealed(inner, outer, options, work), room=room)

    def _detect_sealed(
        self, inner: InnerRequest, outer: Request, options: DetectOptions, work: _Work
    ) -> InnerAnswer:
        started = time.perf_counter()
        upload = Upload(
            inner.content,
            True,
            outer.deadline,
            outer.wanted,
            release=outer.release,
            caller=outer.header.caller,
            kms_calls=work.kms_calls,
        )
        try:
            found: Detections = self._pipeline.detect(upload, options)
        except UnknownClass as error:
            return InnerAnswer.of_problem(problems.INVALID_REQUEST, errors=error.faults)
        except _EXPECTED as error:
            return _inner_problem(error)
        except Exception as error:  # noqa: BLE001 - what went wrong is for nobody outside
            return InnerAnswer.of_problem(failed(error))
        spent = (time.perf_counter() - started) * 1000
        return InnerAnswer(200, found.to_json(options.format), timings=(("detect", spent),))

    def _infer(
        self, inner: InnerRequest, match: routes.Match | None, outer: Request, work: _Work
    ) -> InnerAnswer:
        """The Open Inference Protocol; the images of one call are analysed one after the other."""
        manifest = self._detector.manifest

        def detect_all(asked: InferRequest) -> list[Result]:
            deadline = outer.deadline
            if asked.timeout is not None and asked.timeout < deadline.remaining():
                deadline = Deadline(asked.timeout)
            work.passes += len(asked.images) * asked.options.passes
            return [detect(image, asked.options, deadline) for image in asked.images]

        def detect(
            content: bytes | bytearray | memoryview, options: DetectOptions, deadline: Deadline
        ) -> Result:
            try:
                upload = Upload(
                    content,
                    True,
                    deadline,
                    outer.wanted,
                    caller=outer.header.caller,
                    kms_calls=work.kms_calls,
                )
                return self._pipeline.detect(upload, options)
            except UnknownClass:
                raise  # it is about the parameters, which all images share
            except _EXPECTED as error:
                return problems.BY_SLUG[_class_of(error).value]

        def room(asked: InferRequest) -> int:
            return largest_answer(asked, self._most(asked.options), self._longest_label)

        model = ModelRef(name=manifest.name, version=manifest.version)
        return answer_inference(inner, match, model, detect_all, room)

    def _most(self, options: DetectOptions) -> int:
        """Detections that an image may have at most."""
        return options.max_detections or self._detector.manifest.thresholds.max_detections

    def _attest(self, request: Request, _: _Work) -> Answer:
        nonce = request.header.params.get("nonce")
        if not isinstance(nonce, bytes) or len(nonce) not in limits.NONCE_BYTES:
            return Answer(Outcome.INVALID_REQUEST)
        user_data = UserData(
            keys=self._keyring.digest(),
            model=self._detector.manifest_digest,
            config=self._measured.digest,
        ).encode()
        return Answer(Outcome.OK, self._nsm.attest(user_data=user_data, nonce=nonce))

    def _keys(self, request: Request, _: _Work) -> Answer:
        taken = request.header.params.get("taken")
        if isinstance(taken, bytes):
            self._keyring.give_way(taken)
        return Answer(Outcome.OK, self._keyring.keys_body())

    def _status(self, request: Request, _: _Work) -> Answer:
        status = {
            "ready": not self._draining.is_set(),
            "draining": self._draining.is_set(),
            "needs_credentials": self._credentials.are_due,
            "kms_clock": self._kms_clock().value,
            "kms_regions": list(self._measured.config.kms.regions),
            "answers": self._measured.config.answers,
            "key_ids": bytes(self._keyring.key_ids()),
            "queued": self._compute.queued,
            "busy": self._compute.busy,
            "in_hand": request.others(),
            "threads": self._compute.threads,
            "body_bytes": self._measured.config.limits.body_bytes,
            "model": self._model(),
        }
        return Answer(Outcome.OK, cbor2.dumps(status, canonical=True))

    def _model(self) -> dict[str, object]:
        """What anybody may know of the detector, in the open or sealed."""
        manifest = self._detector.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "labels": [label for label in manifest.labels if label],
        }

    def _take_credentials(self, request: Request, _: _Work) -> Answer:
        if len(request.body) > limits.CREDENTIALS_BYTES:
            return Answer(Outcome.BODY_TOO_LARGE)
        self._credentials.replace(bytes(request.body))
        return Answer(Outcome.OK)

    def _drain(self, _request: Request, _: _Work) -> Answer:
        self.drain()
        return Answer(Outcome.OK)


def _is_coded(request: InnerRequest) -> bool:
    """Whether the body has a content coding (RFC 9110 §8.4), which nothing here undoes."""
    given = ",".join(value for name, value in request.headers if name == "content-encoding")
    return any(coding.strip().lower() not in ("", "identity") for coding in given.split(","))


def _faults(error: Exception) -> bytes:
    """What the parent's client is told of parameters that it sent in the open (docs/link.md §5)."""
    if isinstance(error, UnknownClass):
        return json.dumps(error.faults).encode()
    return (
        json.dumps(describe_faults(error)).encode() if isinstance(error, ValidationError) else b""
    )


def _inner_problem(error: Exception) -> InnerAnswer:
    detail = str(error) if isinstance(error, ImageTooLarge) else None
    return InnerAnswer.of_problem(
        problems.BY_SLUG[_class_of(error).value], detail, **_limits_of(error)
    )


def _limits_of(error: Exception) -> dict[str, int]:
    """The limits that a request broke: the same for every image, so they tell nothing about it."""
    return error.limits.as_mapping() if isinstance(error, ImageTooLarge) else {}


def _class_of(error: Exception) -> Outcome:
    return next(outcome for kind, outcome in FAILURES.items() if isinstance(error, kind))
