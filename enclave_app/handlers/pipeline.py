"""Detection pipeline: opens an upload, decodes the image, and runs the detector.

Open and sealed requests share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from blindgate.detections import Detections, DetectOptions
from blindgate.envelope.recognise import is_envelope
from blindgate.imaging.errors import ImageTooLarge
from enclave_app.detector import Detector
from enclave_app.detector.detector import DetectionRequest
from enclave_app.envelopes.opening import EnvelopeRejected, Unsealer
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.memory_budget import MemoryBudget
from enclave_app.scheduling.worker_pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Upload:
    """The body of a request, and how to tell whether its response is still useful.

    Attributes:
        data: An envelope, or, in a sealed request, also an image.
        sealed: Whether the request was sealed (OHTTP).
        deadline: The time after which the response is of no use.
        wanted: Whether the client is still connected.
        release: Frees the memory of `data`; called when an envelope was opened into other memory.
        caller: The gateway's tag of the caller.
        kms_calls: Gets KMS's ids of the calls that opening makes, also if the upload is rejected.
    """

    data: bytes | bytearray | memoryview
    sealed: bool
    deadline: Deadline
    wanted: Callable[[], bool]
    release: Callable[[], None] = lambda: None
    caller: bytes | None = None
    kms_calls: list[str] = field(default_factory=list)


class Pipeline:
    """Opens uploads and finds objects in them.

    Args:
        unsealer: Opens envelopes.
        detector: Finds objects.
        compute: The threads for CPU-bound work.
        images: Bounds the memory of all decoded images.
    """

    def __init__(
        self,
        unsealer: Unsealer,
        detector: Detector,
        compute: WorkerPool[DetectionRequest, Detections],
        images: MemoryBudget,
    ) -> None:
        self._unsealer = unsealer
        self._detector = detector
        self._compute = compute
        self._images = images

    def detect(self, upload: Upload, options: DetectOptions) -> Detections:
        """Open, decode, detect.

        Raises:
            EnvelopeRejected: The upload could not be opened; the reason is not disclosed.
            KmsRefused: KMS did not release the data key to this enclave.
            KmsUnavailable: KMS did not respond.
            ImageRejected: The content is not an image that we accept.
            ImageTooLarge: The image exceeds a limit.
            Overloaded: The queue is full, or the memory does not suffice.
            DeadlineExceeded: The deadline has passed, or the client has disconnected.
        """
        upload.deadline.check()
        if is_envelope(upload.data):
            image = self._unsealer.open(
                upload.data, caller=upload.caller, kms_calls=upload.kms_calls
            )
            if image.obj is not memoryview(upload.data).obj:
                upload.release()
        elif upload.sealed:
            image = memoryview(upload.data)
        else:
            # The parent has seen an image that was not sealed. Accepting it would encourage clients
            # to send more of them.
            raise EnvelopeRejected
        inspected = self._detector.inspect(image, options)
        if inspected.decoded_bytes > self._images.total:
            # The configuration excludes this, so it is a bug. A retry would fail as well, so the
            # response must not suggest one.
            raise ImageTooLarge(self._detector.limits)
        with self._images.hold(inspected.decoded_bytes, upload.deadline):
            request = DetectionRequest(inspected, options, upload.deadline.check)
            return self._compute.run(request, upload.deadline, upload.wanted)
