"""From an upload to detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from blindgate.detections import DetectOptions
from blindgate.imaging.decode import read_header
from blindgate.imaging.errors import ImageTooLarge
from blindgate.imaging.limits import ImageLimits
from enclave_app.detector.detector import DetectionRequest, Inspected
from enclave_app.envelopes.opening import EnvelopeRejected
from enclave_app.handlers.pipeline import Pipeline, Upload
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded
from enclave_app.scheduling.memory_budget import MemoryBudget
from enclave_app.scheduling.worker_pool import WorkerPool
from tests.blindgate.imaging.files import png

ENVELOPE = b"\x02\x04\x78 an Encryption SDK message by its first bytes"


class FakeUnsealer:
    def __init__(self) -> None:
        self.opened: list[bytes] = []
        self.callers: list[bytes | None] = []
        self.in_place = False

    def open(
        self, envelope: Any, *, caller: bytes | None = None, kms_calls: list[str]
    ) -> memoryview:
        kms_calls.append("id of a call")
        self.opened.append(bytes(envelope))
        self.callers.append(caller)
        return memoryview(envelope)[4:9] if self.in_place else memoryview(b"opened photo")


class FakeDetector:
    needs = 50
    limits = ImageLimits(max_pixels=77)

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def inspect(self, image: bytes, options: DetectOptions) -> Inspected:
        header = read_header(png(1, 1, 8, 0, b"\0\0"))
        return Inspected(bytes(image), header, (1, 1), self.needs)

    def detect_batch(
        self, requests: Iterable[DetectionRequest], *, alone: Callable[[], bool]
    ) -> list[Any]:
        found = []
        for request in requests:
            request.checkpoint()
            assert isinstance(request.image, Inspected)
            self.seen.append(bytes(request.image.data))
            found.append("found")
        return found


class Parts:
    def __init__(self) -> None:
        self.unsealer = FakeUnsealer()
        self.detector = FakeDetector()
        self.compute: WorkerPool[DetectionRequest, Any] = WorkerPool(
            self.detector.detect_batch, threads=1, queue=4
        )
        self.images = MemoryBudget(100)
        self.pipeline = Pipeline(
            cast("Any", self.unsealer), cast("Any", self.detector), self.compute, self.images
        )

    def detect(self, data: bytes, *, sealed: bool, seconds: float = 5, wanted: bool = True) -> str:
        upload = Upload(data, sealed, Deadline(seconds), lambda: wanted)
        return cast("str", self.pipeline.detect(upload, DetectOptions()))


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    parts.compute.close()


@pytest.mark.parametrize("sealed", [True, False])
def test_an_envelope_is_opened_and_looked_at(parts: Parts, sealed: bool) -> None:
    assert parts.detect(ENVELOPE, sealed=sealed) == "found"
    assert parts.unsealer.opened == [ENVELOPE]
    assert parts.detector.seen == [b"opened photo"]


def test_an_envelope_is_opened_for_its_caller_and_its_memory_given_back(parts: Parts) -> None:
    released: list[bool] = []
    upload = Upload(
        ENVELOPE,
        False,
        Deadline(5),
        lambda: True,
        release=lambda: released.append(parts.detector.seen == []),
        caller=b"a caller's tag",
    )
    parts.pipeline.detect(upload, DetectOptions())
    assert parts.unsealer.callers == [b"a caller's tag"]
    assert upload.kms_calls == ["id of a call"]
    assert released == [True], "before the image is looked at"


def test_the_memory_of_an_envelope_that_was_opened_where_it_lies_is_kept(parts: Parts) -> None:
    """The image is in it until the detector has decoded it."""
    parts.unsealer.in_place = True
    released: list[bool] = []
    memory = bytearray(ENVELOPE)
    upload = Upload(
        memoryview(memory), False, Deadline(5), lambda: True, lambda: released.append(True)
    )
    parts.pipeline.detect(upload, DetectOptions())
    assert parts.detector.seen == [ENVELOPE[4:9]]
    assert released == []


def test_a_sealed_image_needs_no_envelope(parts: Parts) -> None:
    assert parts.detect(b"\xff\xd8 photo", sealed=True) == "found"
    assert parts.unsealer.opened == []
    assert parts.detector.seen == [b"\xff\xd8 photo"]


def test_an_image_in_the_open_is_not_taken(parts: Parts) -> None:
    with pytest.raises(EnvelopeRejected):
        parts.detect(b"\xff\xd8 photo", sealed=False)
    assert parts.detector.seen == []


def test_what_is_late_is_not_even_opened(parts: Parts) -> None:
    with pytest.raises(DeadlineExceeded):
        parts.detect(ENVELOPE, sealed=False, seconds=0)
    assert parts.unsealer.opened == []


def test_nobody_looks_at_a_photo_whose_sender_has_left(parts: Parts) -> None:
    with pytest.raises(DeadlineExceeded):
        parts.detect(ENVELOPE, sealed=False, wanted=False)
    assert parts.detector.seen == []


def test_a_photo_that_can_never_fit_into_memory_is_refused(parts: Parts) -> None:
    parts.detector.needs = 101
    with pytest.raises(ImageTooLarge, match="at most 77 pixels"):
        parts.detect(ENVELOPE, sealed=False)


def test_a_photo_waits_for_memory_and_gives_it_back(parts: Parts) -> None:
    with parts.images.hold(60, Deadline(1)), pytest.raises(DeadlineExceeded):
        parts.detect(ENVELOPE, sealed=False, seconds=0.05)
    assert parts.detect(ENVELOPE, sealed=False) == "found"
    assert repr(parts.images) == "<MemoryBudget 100 of 100 bytes free>"
