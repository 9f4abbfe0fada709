"""What the worker answers to each operation of the link: docs/link.md §5."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cbor2
import pytest

from blindgate import problems
from blindgate.attestation import parse
from blindgate.attestation.user_data import UserData
from blindgate.detections import Box, Detection, Detections, DetectOptions, ImageSize, ModelRef
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import ImageLimits
from blindgate.link import Operation, Outcome, RequestHeader
from blindgate.link.frames import Params
from blindgate.sealing import bhttp, keys, ohttp
from devstack.nsm.protocol import DevNsm
from devstack.nsm.root import DevRoot
from enclave_app.config import Measured, load
from enclave_app.detector.detector import DetectionRequest
from enclave_app.detector.errors import UnknownClass
from enclave_app.envelopes.opening import EnvelopeRejected
from enclave_app.handlers.dispatch import Service
from enclave_app.handlers.ohttp import SealedEndpoint
from enclave_app.handlers.pipeline import Upload
from enclave_app.keys.keyring import Keyring
from enclave_app.keys.replay_window import ReplayCache
from enclave_app.kms.credentials import CredentialStore
from enclave_app.kms.diagnosis import ClockState
from enclave_app.kms.errors import KmsClockSkew, KmsRefused, KmsUnavailable, KmsUntrusted
from enclave_app.link_server.server import Answer, Request
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded
from enclave_app.scheduling.worker_pool import WorkerPool

FOUND = Detections(
    model=ModelRef(name="m", version="1"),
    image=ImageSize(width=10, height=10),
    detections=(
        Detection(label="cup", class_id=47, score=0.9, box=Box(x_min=1, y_min=1, x_max=5, y_max=5)),
    ),
)
CONFIG = """
listen = "unix:///w"
answers = "open"
[kms]
region = "us-east-1"
key_arns = ["arn:aws:kms:us-east-1:111122223333:key/1"]
address = "unix:///p"
ca_bundle = "ca.pem"
encryption_context = { purpose = "blindgate" }
[model]
folder = "model"
"""


class FakePipeline:
    """Records what it is asked and answers, or fails, as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Upload, DetectOptions]] = []
        self.fails: Exception | None = None

    def detect(self, upload: Upload, options: DetectOptions) -> Detections:
        self.asked.append((upload, options))
        if self.fails:
            raise self.fails
        return FOUND


def local_nsm() -> DevNsm:
    """A dev NSM in this process, which attests as `enclave_app.nsm` does."""
    pcrs = dict.fromkeys(range(3), b"\x11" * 48)
    return DevNsm(DevRoot.generate(), "i-0123456789abcdef0-enc0123456789abcdef", pcrs)


def _no_work(requests: Iterable[DetectionRequest], *, alone: Callable[[], bool]) -> list[Any]:
    raise AssertionError("the pipeline is a fake")


class Worker:
    """A service around fakes, and a gateway's way of asking it."""

    def __init__(self, measured: Measured, labels: tuple[str, ...] = ("", "cup", "bowl")) -> None:
        self.caller: bytes | None = None
        self.pipeline = FakePipeline()
        self.keyring = Keyring()
        self.credentials = CredentialStore()
        self.kms_clock = ClockState.UNKNOWN
        self.compute: WorkerPool[DetectionRequest, Any] = WorkerPool(_no_work, threads=1, queue=1)
        thresholds = SimpleNamespace(max_detections=100)
        manifest = SimpleNamespace(name="m", version="1", labels=labels, thresholds=thresholds)
        detector: Any = SimpleNamespace(manifest=manifest, manifest_digest=b"\x22" * 32)
        self.service = Service(
            measured=measured,
            nsm=cast("Any", local_nsm()),
            keyring=self.keyring,
            credentials=self.credentials,
            sealed=SealedEndpoint(self.keyring),
            detector=detector,
            compute=self.compute,
            pipeline=cast("Any", self.pipeline),
            kms_clock=lambda: self.kms_clock,
        )

    def ask(self, operation: Operation, body: bytes = b"", params: Params | None = None) -> Answer:
        header = RequestHeader(operation, bytes(16), 5000, len(body), params or {}, self.caller)
        return self.service.handle(Request(header, bytearray(body), Deadline(5), lambda: True))

    def ask_sealed(
        self, method: str, target: str, content: bytes = b"", **headers: str
    ) -> bhttp.Response:
        """One exchange as a client makes it."""
        return self.exchange(method, target, content, **headers)[0]

    def exchange(
        self, method: str, target: str, content: bytes = b"", **headers: str
    ) -> tuple[bhttp.Response, int]:
        """The response, and the bytes of it that the gateway sees."""
        config = keys.choose(keys.decode_list(self.keyring.keys_body()))
        fields = {"date": formatdate(usegmt=True), **headers}
        named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        message = bhttp.Request(method, "https", "gateway", target, named, content).encode()
        sealed = ohttp.seal_request(config, message)
        answer = self.ask(Operation.OHTTP, sealed.encapsulated)
        assert answer.outcome is Outcome.OK
        return bhttp.decode_response(sealed.response.open(answer.body)), len(answer.body)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    path = Path(tmp_path_factory.mktemp("config")) / "enclave.toml"
    path.write_text(CONFIG)
    return load(path)


@pytest.fixture
def worker(measured: Measured) -> Iterator[Worker]:
    worker = Worker(measured)
    yield worker
    worker.compute.close()


@pytest.fixture
def sealed_only(measured: Measured) -> Iterator[Worker]:
    config = measured.config.model_copy(update={"answers": "sealed"})
    worker = Worker(replace(measured, config=config))
    yield worker
    worker.compute.close()


FAILURES = [
    (EnvelopeRejected(), problems.ENVELOPE_REJECTED),
    (ImageRejected("why"), problems.IMAGE_REJECTED),
    (ImageTooLarge(ImageLimits(max_pixels=4096)), problems.IMAGE_TOO_LARGE),
    (KmsRefused(("id-of-kms",)), problems.KMS_REFUSED),
    (KmsUnavailable(("id-of-kms",)), problems.KMS_UNAVAILABLE),
    (KmsClockSkew(("id-of-kms",)), problems.KMS_UNAVAILABLE),
    (KmsUntrusted(("id-of-kms",)), problems.KMS_UNAVAILABLE),
    (Overloaded("full"), problems.OVERLOADED),
    (DeadlineExceeded("late"), problems.DEADLINE_EXCEEDED),
]


def test_detections_are_answered_as_json(worker: Worker) -> None:
    answer = worker.ask(Operation.DETECT, b"envelope", {"min_score": 0.5, "classes": ["cup"]})
    assert answer.outcome is Outcome.OK
    assert Detections.model_validate_json(answer.body) == FOUND
    ((upload, options),) = worker.pipeline.asked
    assert (bytes(upload.data), upload.sealed) == (b"envelope", False)
    assert options == DetectOptions(min_score=0.5, classes=("cup",))


def test_the_caller_s_tag_goes_with_every_upload(worker: Worker) -> None:
    asks: list[Callable[[], object]] = [
        lambda: worker.ask(Operation.DETECT, b"envelope"),
        lambda: worker.ask_sealed("POST", "/v1/detections", b"image"),
        lambda: worker.ask_sealed("POST", "/v2/models/m/infer", _batch("QQ==", "QQ==", tiles=1)),
    ]
    for number, ask in enumerate(asks):
        worker.caller = bytes([number]) * 16
        ask()
    found = [upload.caller for upload, _ in worker.pipeline.asked]
    assert found == [bytes(16), b"\1" * 16, b"\2" * 16, b"\2" * 16]


def test_the_replay_cache_is_shared_out_by_the_caller_s_tag(worker: Worker) -> None:
    worker.service._sealed = SealedEndpoint(worker.keyring, replay=ReplayCache(360, capacity=4))
    worker.caller = b"greedy caller..."
    for _ in range(3):
        assert worker.ask_sealed("POST", "/v1/detections", b"image").status == 200
    with pytest.raises(AssertionError):  # the outcome is overloaded, outside
        worker.ask_sealed("POST", "/v1/detections", b"image")
    assert worker.ask_sealed("GET", "/v1/models").status == 200
    worker.caller = b"another caller.."
    assert worker.ask_sealed("POST", "/v1/detections", b"image").status == 200


def _batch(*images: str, tiles: int) -> bytes:
    image = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": images}
    return json.dumps({"inputs": [image], "parameters": {"tiles": tiles}}).encode()


@pytest.mark.parametrize("fails", [None, ImageRejected("no image"), KmsRefused(("id",))])
@pytest.mark.parametrize(
    ("method", "target", "content", "passes"),
    [
        ("POST", "/v1/detections", b"image", 1),
        ("POST", "/v1/detections?tiles=1", b"image", 1),
        ("POST", "/v1/detections?tiles=2", b"image", 5),
        ("POST", "/v1/detections?tiles=3", b"image", 10),
        ("POST", "/v2/models/m/infer", _batch("QQ==", "QQ==", "QQ==", tiles=3), 30),
        ("POST", "/v2/models/m/infer", b"what", 1),
        ("POST", "/v1/detections?tiles=9", b"image", 1),
        ("POST", "/v1/detections", b"", 1),
        ("GET", "/v1/models", b"", 1),
        ("GET", "/nowhere", b"", 1),
    ],
)
def test_the_gateway_is_told_what_a_sealed_request_asked_for_and_not_what_came_of_it(
    worker: Worker,
    method: str,
    target: str,
    content: bytes,
    passes: int,
    fails: Exception | None,
) -> None:
    worker.pipeline.fails = fails
    handle, answers = worker.service.handle, []
    worker.service.handle = lambda request: answers.append(handle(request)) or answers[-1]  # type: ignore[method-assign, func-returns-value]
    worker.ask_sealed(method, target, content)
    assert [answer.params for answer in answers] == [{"passes": passes}]


@pytest.mark.parametrize("failure", [None, KmsRefused(("id-2",))])
def test_the_answer_names_the_kms_calls_that_were_made_for_it(
    worker: Worker, failure: Exception | None
) -> None:
    detect = worker.pipeline.detect

    def calling(upload: Upload, options: DetectOptions) -> Detections:
        upload.kms_calls.extend(["id-1", "id-2"])
        return detect(upload, options)

    worker.pipeline.fails = failure
    worker.pipeline.detect = calling  # type: ignore[method-assign]
    assert worker.ask(Operation.DETECT, b"envelope").params == {"kms": ["id-1", "id-2"]}
    worker.pipeline.detect = detect  # type: ignore[method-assign]
    assert not worker.ask(Operation.DETECT, b"envelope").params


def test_the_samples_shape_is_answered_on_request(worker: Worker) -> None:
    answer = worker.ask(Operation.DETECT, b"envelope", {"format": "sample"})
    assert json.loads(answer.body) == FOUND.to_sample()


@pytest.mark.parametrize(
    "params", [{"min_score": 2}, {"classes": []}, {"unknown": 1}, {"format": "xml"}]
)
def test_parameters_are_checked_again_inside(worker: Worker, params: Params) -> None:
    answer = worker.ask(Operation.DETECT, b"envelope", params)
    assert answer.outcome is Outcome.INVALID_REQUEST
    (fault,) = json.loads(answer.body)
    assert fault["parameter"].startswith(next(iter(params)))
    assert worker.pipeline.asked == []


@pytest.mark.parametrize(("failure", "problem"), FAILURES, ids=lambda v: getattr(v, "slug", ""))
def test_a_failure_is_its_class_and_nothing_else(
    worker: Worker, failure: Exception, problem: problems.Problem
) -> None:
    worker.pipeline.fails = failure
    answer = worker.ask(Operation.DETECT, b"envelope")
    limits = failure.limits.as_mapping() if isinstance(failure, ImageTooLarge) else None
    assert answer == Answer(Outcome(problem.slug), params=limits)


def test_a_worker_that_is_measured_sealed_opens_nothing_for_an_open_answer(
    sealed_only: Worker,
) -> None:
    answer = sealed_only.ask(Operation.DETECT, b"envelope")
    assert answer == Answer(Outcome.SEALED_ANSWERS_ONLY)
    assert sealed_only.pipeline.asked == []
    assert sealed_only.ask_sealed("POST", "/v1/detections", b"photo").status == 200


def test_a_sealed_request_is_answered_inside(worker: Worker) -> None:
    response = worker.ask_sealed("POST", "/v1/detections?min_score=0.5&classes=cup,bowl", b"photo")
    assert response.status == 200
    assert Detections.model_validate_json(bytes(response.content)) == FOUND
    ((upload, options),) = worker.pipeline.asked
    assert (bytes(upload.data), upload.sealed) == (b"photo", True)
    assert options == DetectOptions(min_score=0.5, classes=("cup", "bowl"))
    timing = response.header("server-timing")
    assert timing is not None
    assert "detect;dur=" in timing


@pytest.mark.parametrize(("failure", "problem"), FAILURES, ids=lambda v: getattr(v, "slug", ""))
def test_a_failure_in_a_sealed_request_is_told_inside_alone(
    worker: Worker, failure: Exception, problem: problems.Problem
) -> None:
    worker.pipeline.fails = failure
    response = worker.ask_sealed("POST", "/v1/detections", b"photo")
    assert response.status == problem.status
    body = json.loads(bytes(response.content))
    if isinstance(failure, ImageTooLarge):
        assert "at most 4,096 pixels" in body["detail"]
        assert body == problem.body(body["detail"], **failure.limits.as_mapping())
    else:
        assert body == problem.body()


@pytest.mark.parametrize(
    ("method", "target", "content", "problem"),
    [
        ("POST", "/v1/nothing", b"x", problems.NOT_FOUND),
        ("GET", "/v1/detections", b"", problems.METHOD_NOT_ALLOWED),
        ("POST", "/v1/models", b"", problems.METHOD_NOT_ALLOWED),
        ("POST", "/v1/detections", b"", problems.EMPTY_BODY),
        ("POST", "/v1/detections?min_score=2", b"x", problems.INVALID_REQUEST),
        ("POST", "/v1/detections?colour=red", b"x", problems.INVALID_REQUEST),
    ],
)
def test_a_wrong_sealed_request_is_a_typed_problem(
    worker: Worker, method: str, target: str, content: bytes, problem: problems.Problem
) -> None:
    response = worker.ask_sealed(method, target, content)
    assert response.status == problem.status
    assert json.loads(bytes(response.content))["type"] == problem.type
    assert worker.pipeline.asked == []


def test_the_models_are_told_in_sealed_answers_too(worker: Worker) -> None:
    response = worker.ask_sealed("GET", "/v1/models")
    (model,) = json.loads(bytes(response.content))["models"]
    assert model == {"name": "m", "version": "1", "labels": ["cup", "bowl"]}


def test_the_document_binds_keys_model_and_configuration(
    worker: Worker, measured: Measured
) -> None:
    nonce = bytes(range(32))
    answer = worker.ask(Operation.ATTEST, params={"nonce": nonce})
    document = parse(bytes(answer.body))
    assert document.nonce == nonce
    assert document.user_data is not None
    bound = UserData.decode(document.user_data)
    assert bound.keys == worker.keyring.digest()
    assert bound.model == b"\x22" * 32
    assert bound.config == measured.digest


@pytest.mark.parametrize("nonce", [None, b"", bytes(15), bytes(65), "text", 16])
def test_a_document_needs_a_nonce_that_nobody_guesses(worker: Worker, nonce: Any) -> None:
    answer = worker.ask(Operation.ATTEST, params={"nonce": nonce})
    assert answer == Answer(Outcome.INVALID_REQUEST)


def test_keys_give_way_to_those_of_other_enclaves(worker: Worker) -> None:
    before = worker.ask(Operation.KEYS).body
    assert worker.ask(Operation.KEYS).body == before
    taken = bytes(each.key_id for each in keys.decode_list(before))
    after = worker.ask(Operation.KEYS, params={"taken": taken}).body
    assert not {each.key_id for each in keys.decode_list(after)} & set(taken)


def test_the_status_says_how_the_worker_is(worker: Worker) -> None:
    status = cbor2.loads(worker.ask(Operation.STATUS).body)
    assert status["ready"] is True
    assert status["in_hand"] == 0
    assert status["draining"] is False
    assert status["needs_credentials"] is True
    assert status["answers"] == "open"
    assert status["kms_regions"] == ["us-east-1"]
    assert status["threads"] == 1
    assert set(status["key_ids"]) == set(worker.keyring.key_ids())
    assert status["model"]["labels"] == ["cup", "bowl"]


def test_the_status_says_whether_kms_accepts_the_clock(worker: Worker) -> None:
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["kms_clock"] == "unknown"
    worker.kms_clock = ClockState.BEHIND
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["kms_clock"] == "behind"


def credentials(**changes: Any) -> bytes:
    fields = {
        "access_key_id": "ASIAIOSFODNN7EXAMPLE",
        "secret_access_key": "secret",
        "session_token": None,
        "expires": None,
    }
    return cbor2.dumps(fields | changes)


def test_credentials_are_taken(worker: Worker) -> None:
    assert worker.ask(Operation.CREDENTIALS, credentials()) == Answer(Outcome.OK)
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["needs_credentials"] is False


def test_a_region_that_is_not_measured_is_refused(worker: Worker) -> None:
    worker.credentials = CredentialStore(regions=("us-east-1", "eu-west-1"))
    worker.service._credentials = worker.credentials
    for named in ({}, {"region": "eu-west-2"}):
        body = credentials(**named)
        assert worker.ask(Operation.CREDENTIALS, body) == Answer(Outcome.INVALID_REQUEST)
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["needs_credentials"] is True
    body = credentials(region="eu-west-1")
    assert worker.ask(Operation.CREDENTIALS, body) == Answer(Outcome.OK)
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["needs_credentials"] is False


@pytest.mark.parametrize("body", [b"", b"\xff", credentials(expires="now"), credentials(extra=1)])
def test_what_is_no_set_of_credentials_is_refused(worker: Worker, body: bytes) -> None:
    assert worker.ask(Operation.CREDENTIALS, body) == Answer(Outcome.INVALID_REQUEST)


def test_pushed_credentials_have_16_kib_at_most(worker: Worker) -> None:
    largest = worker.ask(Operation.CREDENTIALS, bytes(16_384))
    assert largest == Answer(Outcome.INVALID_REQUEST)
    assert worker.ask(Operation.CREDENTIALS, bytes(16_385)) == Answer(Outcome.BODY_TOO_LARGE)


def test_a_drained_worker_leaves_work_to_others_and_still_tells_how_it_is(worker: Worker) -> None:
    assert worker.ask(Operation.DRAIN) == Answer(Outcome.OK)
    assert worker.ask(Operation.DETECT, b"envelope") == Answer(Outcome.DRAINING)
    assert worker.ask(Operation.OHTTP, b"sealed") == Answer(Outcome.DRAINING)
    assert worker.pipeline.asked == []
    assert cbor2.loads(worker.ask(Operation.STATUS).body)["draining"] is True


def test_a_full_worker_says_so_before_it_opens_anything(worker: Worker) -> None:
    worker.compute.close()
    assert worker.ask(Operation.DETECT, b"envelope") == Answer(Outcome.OVERLOADED)
    assert worker.ask(Operation.OHTTP, b"sealed") == Answer(Outcome.OVERLOADED)
    assert worker.pipeline.asked == []


@pytest.mark.parametrize("body", [b"", b"\x00", bytes(100), b"\xff" * 2000])
def test_what_is_not_sealed_to_us_is_refused_by_class(worker: Worker, body: bytes) -> None:
    answer = worker.ask(Operation.OHTTP, body)
    assert answer.outcome in {Outcome.OHTTP_KEY, Outcome.OHTTP_REJECTED}
    assert answer.body == b""


def found(count: int, label: str = "cup") -> Detections:
    box = Box(x_min=1234.5678901234567, y_min=1e-17, x_max=1.2345678901234567e-05, y_max=3e-300)
    one = Detection(label=label, class_id=4999, score=0.12345678901234568, box=box)
    return FOUND.model_copy(update={"detections": (one,) * count})


def infer_body(images: int, **members: Any) -> bytes:
    data = [base64.b64encode(b"x").decode()] * images
    given = {"name": "image", "datatype": "BYTES", "shape": [images], "data": data}
    return json.dumps({"inputs": [given], **members}).encode()


#: What can come of one image, once a sealed request was opened.
ENDS: list[Any] = [
    *(found(count) for count in (0, 1, 7, 57, 100)),
    *(EnvelopeRejected(), ImageRejected(), ImageTooLarge(ImageLimits()), KmsRefused(("id",))),
    *(Overloaded(), DeadlineExceeded(), UnknownClass("m", ["a", "b"], ["c"]), RuntimeError("x")),
]


@pytest.mark.parametrize("images", [1, 2, 7, 16])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"parameters": {"binary_data_output": True}},
        {"parameters": {"max_detections": 3, "tiles": 3}},
        {"parameters": {"max_detections": 300}},
        {"outputs": [{"name": "num_detections"}, {"name": "errors"}]},
        {"outputs": [{"name": "boxes"}, {"name": "labels", "parameters": {"binary_data": True}}]},
    ],
    ids=range(6),
)
def test_the_size_of_a_sealed_inference_depends_on_its_request_alone(
    worker: Worker, images: int, asked: dict[str, Any]
) -> None:
    most = asked.get("parameters", {}).get("max_detections", 100)
    sizes = set()
    for end in [*ENDS, found(most, "bowl"), None]:
        left = iter([found(most), ImageRejected(), *[found(0)] * 16])

        def detect(upload: Upload, options: DetectOptions, end: Any = end, left: Any = left) -> Any:
            outcome = next(left) if end is None else end
            if isinstance(outcome, Exception):
                raise outcome
            return outcome.model_copy(update={"detections": outcome.detections[:most]})

        worker.pipeline.detect = detect  # type: ignore[method-assign]
        sizes.add(worker.exchange("POST", "/v2/models/m/infer", infer_body(images, **asked))[1])
    assert len(sizes) == 1


@pytest.mark.parametrize("query", ["", "?max_detections=300", "?max_detections=300&format=sample"])
@pytest.mark.parametrize("labels", [("cup", "dining table"), ("x" * 64,), ("\U0001f4a5" * 64,)])
def test_the_size_of_a_sealed_detection_depends_on_its_request_alone(
    measured: Measured, query: str, labels: tuple[str, ...]
) -> None:
    worker = Worker(measured, labels)
    most = 300 if query else 100
    sizes = set()
    for end in [*ENDS, *(found(most, label) for label in labels)]:

        def detect(upload: Upload, options: DetectOptions, end: Any = end) -> Any:
            if isinstance(end, Exception):
                raise end
            return end

        worker.pipeline.detect = detect  # type: ignore[method-assign]
        sizes.add(worker.exchange("POST", f"/v1/detections{query}", b"x")[1])
    worker.compute.close()
    assert len(sizes) == 1
    if labels == ("cup", "dining table"):
        assert sizes == {64 * 1024 + 48}


@pytest.mark.parametrize("path", ["/v1/detections", "/v2/models/m/infer", "/v2", "/v1/models"])
@pytest.mark.parametrize("coding", ["gzip", "identity, br", "GZIP"])
def test_a_sealed_body_with_a_content_coding_is_refused(
    worker: Worker, path: str, coding: str
) -> None:
    answer = worker.ask_sealed("POST", path, b"x", content_encoding=coding)
    assert answer.status == 415
    assert answer.header("accept-encoding") == "identity"
    body = json.loads(bytes(answer.content))
    assert "Content-Encoding" in body["detail"]
    assert ("error" in body) == path.startswith("/v2")


def test_a_sealed_body_may_say_that_it_has_no_coding(worker: Worker) -> None:
    answer = worker.ask_sealed("POST", "/v1/detections", b"x", content_encoding="Identity")
    assert answer.status == 200


def test_an_unknown_class_is_named_open_and_sealed(worker: Worker) -> None:
    worker.pipeline.fails = UnknownClass("m", ["catt"], ["car", "cat"])
    answer = worker.ask(Operation.DETECT, b"envelope", {"classes": ["catt"]})
    assert answer.outcome is Outcome.INVALID_REQUEST
    expected = [
        {"parameter": "classes", "message": 'The model has no class "catt": did you mean "cat"?'}
    ]
    assert json.loads(answer.body) == expected
    sealed = worker.ask_sealed("POST", "/v1/detections?classes=catt", b"x")
    assert json.loads(bytes(sealed.content))["errors"] == expected


def test_spaces_around_a_label_of_a_query_are_not_part_of_it(worker: Worker) -> None:
    worker.ask_sealed("POST", "/v1/detections?classes=cup,%20dining%20table%09", b"x")
    ((_, options),) = worker.pipeline.asked
    assert options.classes == ("cup", "dining table")


def test_a_timeout_of_a_sealed_inference_shortens_its_deadline(worker: Worker) -> None:
    for timeout, most in ((2_000_000, 2), (0, 5), (10**12, 5)):
        body = infer_body(1, parameters={"timeout": timeout})
        assert worker.ask_sealed("POST", "/v2/models/m/infer", body).status == 200
        upload, _ = worker.pipeline.asked[-1]
        assert most - 1 < upload.deadline.remaining() <= most
