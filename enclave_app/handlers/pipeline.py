"""From an upload to detections: the one way that open and sealed requests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blindgate.detections import Detections, DetectOptions
from blindgate.envelope.recognise import is_envelope
from blindgate.imaging.errors import ImageTooLarge
from enclave_app.detector import Detector
from enclave_app.detector.detector import Look
from enclave_app.envelopes.opening import EnvelopeRejected, Unsealer
from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.memory_budget import MemoryBudget
from enclave_app.scheduling.worker_pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Upload:
    """What was uploaded and who waits for it.

    Attributes:
        data: An envelope, or an image where it came sealed.
        sealed: Whether it came inside OHTTP.
        deadline: When nobody waits for the answer any more.
        wanted: Whether whoever asked is still there.
        release: Gives the memory of `data` back, once an envelope was opened into other memory.
        caller: The gateway's tag of the client that asks.
    """

    data: bytes | bytearray | memoryview
    sealed: bool
    deadline: Deadline
    wanted: Callable[[], bool]
    release: Callable[[], None] = lambda: None
    caller: bytes | None = None


class Pipeline:
    """Opens uploads and finds objects in them.

    Args:
        unsealer: Opens envelopes.
        detector: Finds objects.
        compute: The threads that may burn CPU.
        images: Memory that all decoded images share.
    """

    def __init__(
        self,
        unsealer: Unsealer,
        detector: Detector,
        compute: WorkerPool[Look, Detections],
        images: MemoryBudget,
    ) -> None:
        self._unsealer = unsealer
        self._detector = detector
        self._compute = compute
        self._images = images

    def detect(self, upload: Upload, options: DetectOptions) -> Detections:
        """Open, decode, detect.

        Raises:
            EnvelopeRejected: The upload could not be opened, whatever the reason.
            KmsRefused: KMS did not release the data key to this enclave.
            KmsUnavailable: KMS did not answer.
            ImageRejected: What was opened is no image that can be used.
            ImageTooLarge: It is an image over a limit.
            Overloaded: Too much waits already.
            DeadlineExceeded: It is too late, or nobody waits any more.
        """
        upload.deadline.check()
        if is_envelope(upload.data):
            image = self._unsealer.open(upload.data, caller=upload.caller)
            if image.obj is not memoryview(upload.data).obj:
                upload.release()
        elif upload.sealed:
            image = memoryview(upload.data)
        else:
            # An image outside OHTTP has been seen by the parent already; taking it would teach
            # clients to send more.
            raise EnvelopeRejected
        picture = self._detector.inspect(image, options)
        if picture.decoded_bytes > self._images.total:
            # The configuration is checked against this, so it is a mistake of ours. Still, the same
            # image would be refused every time, and "try again" would be wrong.
            raise ImageTooLarge(self._detector.limits)
        with self._images.hold(picture.decoded_bytes, upload.deadline):
            look = Look(picture, options, upload.deadline.check)
            return self._compute.run(look, upload.deadline, upload.wanted)
