"""Object detection: loads a model from its folder, and finds objects in images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from blindgate.detections import Box, Detection, Detections, DetectOptions, ImageSize, ModelRef
from blindgate.imaging.decode import Header, decode, decoded_bytes, inspect, upright_size
from blindgate.imaging.limits import ImageLimits
from enclave_app.detector.candidates import Candidates
from enclave_app.detector.cpu import cpu_features
from enclave_app.detector.errors import ModelError, UnknownClass
from enclave_app.detector.families import FAMILIES
from enclave_app.detector.manifest import MANIFEST_FILE, ONNX_FILE, read_manifest
from enclave_app.detector.nms import suppress
from enclave_app.detector.preprocess import normalise, prepare, wanted_size
from enclave_app.detector.session import Network, Outputs, read_onnx
from enclave_app.detector.tiles import merge, regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from blindgate.imaging.decode import Box as Region
    from blindgate.imaging.decode import Picture
    from enclave_app.detector.manifest import Manifest, ManifestFile
    from enclave_app.detector.preprocess import Placement

_DEFAULTS: Final = DetectOptions()
#: Digits after the point: finer than a pixel or a score is meaningful, and responses stay short.
_BOX_DIGITS, _SCORE_DIGITS = 4, 6


def _never_cancel() -> None:
    """The checkpoint of a detection that nobody cancels."""


def _never_alone() -> bool:
    """For callers that do not know whether other requests run."""
    return False


@dataclass(frozen=True, slots=True)
class Inspected:
    """An image whose header passed all checks.

    Attributes:
        data: The file.
        header: Its header.
        wanted: The width and height, in pixels, that suffice for the model.
        decoded_bytes: About how much memory it takes when it is decoded.
    """

    data: bytes | memoryview = field(repr=False)
    header: Header
    wanted: tuple[int, int]
    decoded_bytes: int


Image = bytes | memoryview | Inspected


@dataclass(frozen=True, slots=True)
class DetectionRequest:
    """An image and the options of its detection.

    Attributes:
        image: The file, or what `Detector.inspect` made of it with the same options.
        options: The client's.
        checkpoint: Called before each expensive step; an exception from it ends the detection.
    """

    image: Image
    options: DetectOptions = _DEFAULTS
    checkpoint: Callable[[], None] = _never_cancel


@dataclass(slots=True)
class _InProgress:
    """A detection in progress: the network's inputs, and its results so far.

    Attributes:
        request: The request.
        size: Width and height of the whole image, in pixels.
        regions: The regions that are analysed, in pixels of the image.
        inputs: For each region the network's input, and its placement in the image.
        found: For each region analysed so far, its candidates in pixels of the image.
        failure: The error that ended the detection.
    """

    request: DetectionRequest
    size: tuple[int, int]
    regions: list[Region]
    inputs: list[tuple[NDArray[np.generic], Placement]]
    found: list[tuple[Region, Candidates]] = field(default_factory=list)
    failure: Exception | None = None

    def continues(self) -> bool:
        """Whether the network should run for it; asks the request's checkpoint."""
        if self.failure is None:
            try:
                self.request.checkpoint()
            except Exception as error:  # noqa: BLE001 - any error ends this detection
                self.failure = error
        return self.failure is None


class Detector:
    """A loaded model. Several threads may use it at once."""

    def __init__(self, read: ManifestFile, network: Network, limits: ImageLimits) -> None:
        self.manifest: Manifest = read.manifest
        #: SHA-256 of the manifest, which pins the ONNX file: what attestation binds.
        self.manifest_digest: bytes = read.digest
        self.limits = limits
        self._network = network
        self._traits = FAMILIES[read.manifest.family]
        self._reference = ModelRef(name=read.manifest.name, version=read.manifest.version)
        self._numbers = {name: at for at, name in enumerate(read.manifest.labels) if name}

    @property
    def batch(self) -> int:
        """How many images one run of the network takes."""
        return self._network.batch

    def __repr__(self) -> str:
        return f"<Detector {self.manifest.name} {self.manifest.version}>"

    @classmethod
    def load(cls, folder: Path, *, limits: ImageLimits | None = None, threads: int = 1) -> Detector:
        """Load a model, and run it once.

        Args:
            folder: Holds `model.toml` and `model.onnx`. If the manifest needs features that this
                processor lacks and names another model, that one is loaded, from the sibling
                folder of its name.
            limits: Of the images.
            threads: Used by a run when no other request is in flight; otherwise one.

        Raises:
            ManifestError: The manifest breaks a rule.
            ModelError: The ONNX file is not the one that the manifest pins, or does not fit it.
        """
        read = read_manifest(folder / MANIFEST_FILE)
        missing = set(read.manifest.cpu.needs) - cpu_features()
        if missing and read.manifest.cpu.otherwise is None:
            raise ModelError(f"{read.manifest.name} needs a processor with {', '.join(missing)}")
        if missing and read.manifest.cpu.otherwise is not None:
            folder = folder.resolve().parent / read.manifest.cpu.otherwise
            read = read_manifest(folder / MANIFEST_FILE)
            if read.manifest.cpu.needs:
                raise ModelError(f"{read.manifest.name} is the fallback: cpu.needs must be empty")
        onnx = read_onnx(folder / ONNX_FILE, read.manifest.onnx_sha256)
        return cls.from_onnx(read, onnx, limits=limits, threads=threads)

    @classmethod
    def from_onnx(
        cls, read: ManifestFile, onnx: bytes, *, limits: ImageLimits | None = None, threads: int = 1
    ) -> Detector:
        """Load a model from the bytes of its ONNX file; the manifest's digest is not compared."""
        wanted = read.manifest.input
        network = Network(onnx, read.manifest, threads=threads)
        detector = cls(read, network, limits or ImageLimits())
        shape = (wanted.height, wanted.width, 3)
        detector.run_network(np.full(shape, 127, np.uint8))
        noise = np.random.default_rng(0)  # any images that differ
        images = (noise.integers(0, 256, shape, np.uint8) // (at + 1) for at in range(wanted.batch))
        network.check_batch([normalise(each, wanted) for each in images])
        return detector

    def inspect(self, image: bytes | memoryview, options: DetectOptions = _DEFAULTS) -> Inspected:
        """Read an image's header, without decoding anything.

        Raises:
            ImageRejected: The header is not that of an acceptable image.
            ImageTooLarge: The image exceeds a limit.
        """
        header = inspect(image, self.limits)
        wanted = self._wanted(header, options)
        return Inspected(image, header, wanted, decoded_bytes(header, wanted))

    def decode(
        self,
        image: Image,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _never_cancel,
    ) -> Picture:
        """Decode an image as large as the model needs it.

        Args:
            image: The file, or the result of `inspect` with the same options.
            options: The client's.
            checkpoint: Called between pieces of the file; an exception from it ends the decoding.

        Raises:
            ImageRejected: It is not an image that we accept.
        """
        inspected = image if isinstance(image, Inspected) else self.inspect(image, options)
        return decode(inspected.header, inspected.wanted, checkpoint)

    def infer(
        self,
        picture: Picture,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _never_cancel,
    ) -> Detections:
        """Find the objects of a decoded image.

        Args:
            picture: From `decode`, with the same options.
            options: The client's.
            checkpoint: Called before each run of the network; an exception from it ends the
                detection.

        Raises:
            UnknownClass: The options name a class that the model does not have.
        """
        current = self._prepare(picture, DetectionRequest(b"", options, checkpoint))
        self._run_all([current])
        return self._result(current)

    def detect(
        self,
        image: Image,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _never_cancel,
    ) -> Detections:
        """Decode an image and find its objects.

        Raises:
            ImageRejected: It is not an image that we accept.
            UnknownClass: The options name a class that the model does not have.
        """
        (found,) = self.detect_batch([DetectionRequest(image, options, checkpoint)])
        if isinstance(found, Exception):
            raise found
        return found

    def detect_batch(
        self, requests: Iterable[DetectionRequest], *, alone: Callable[[], bool] = _never_alone
    ) -> list[Detections | Exception]:
        """Process several requests, in as few runs of the network as its batch size allows.

        Args:
            requests: Each image is decoded before the next request is taken.
            alone: Called before each run of the network: whether no other request is in flight.

        Returns:
            For each request its detections, exactly as without the others, or the error that
            `detect` would raise.
        """
        begun: list[_InProgress | Exception] = []
        for request in requests:
            try:
                self._wanted_classes(request.options)
                request.checkpoint()
                picture = self.decode(request.image, request.options, request.checkpoint)
                begun.append(self._prepare(picture, request))
            except Exception as error:  # noqa: BLE001 - of this image alone
                begun.append(error)
        self._run_all(
            [current for current in begun if isinstance(current, _InProgress)], alone=alone
        )
        found: list[Detections | Exception] = []
        for current in begun:
            try:
                found.append(self._result(current) if isinstance(current, _InProgress) else current)
            except Exception as error:  # noqa: BLE001 - of this image alone
                found.append(error)
        return found

    def run_network(self, pixels: NDArray[np.uint8], min_score: float = 0.5) -> Candidates:
        """Run the network once.

        Args:
            pixels: uint8 RGB `[height, width, 3]` of exactly the input's size.
            min_score: Candidates below it are dropped.

        Returns:
            Candidates with boxes in pixels of the input.
        """
        (outputs,) = self._network.run([normalise(pixels, self.manifest.input)])
        return self._candidates(outputs, min_score)

    def _prepare(self, picture: Picture, request: DetectionRequest) -> _InProgress:
        parts = regions(picture.width, picture.height, request.options.tiles or 1)
        inputs = [prepare(picture, region, self.manifest.input) for region in parts]
        return _InProgress(request, (picture.width, picture.height), parts, inputs)

    def _run_all(
        self, in_progress: Sequence[_InProgress], *, alone: Callable[[], bool] = _never_alone
    ) -> None:
        """Run the network on every input; an error is recorded in the detections it concerns."""
        waiting = [(each, at) for each in in_progress for at in range(len(each.inputs))]
        for start in range(0, len(waiting), self._network.batch):
            batch = waiting[start : start + self._network.batch]
            run = [(each, at) for each, at in batch if each.continues()]
            try:
                tensors = [each.inputs[at][0] for each, at in run]
                outputs = self._network.run(tensors, alone=alone()) if run else []
                for (current, at), output in zip(run, outputs, strict=True):
                    current.found.append((current.regions[at], self._to_image(current, at, output)))
            except Exception as error:  # noqa: BLE001 - of the whole run
                for current, _ in run:
                    current.failure = error

    def _to_image(self, current: _InProgress, at: int, outputs: Outputs) -> Candidates:
        candidates = self._candidates(outputs, self._min_score(current.request.options))
        placement = current.inputs[at][1]
        return Candidates(
            placement.to_picture(candidates.boxes), candidates.scores, candidates.classes
        )

    def _min_score(self, options: DetectOptions) -> float:
        return self.manifest.thresholds.score if options.min_score is None else options.min_score

    def _result(self, current: _InProgress) -> Detections:
        """The detections of one image, from all its regions."""
        if current.failure is not None:
            raise current.failure
        found, options, thresholds = (
            current.found,
            current.request.options,
            self.manifest.thresholds,
        )
        numbers = self._wanted_classes(options)
        objects = found[0][1] if len(found) == 1 else merge(found, thresholds.nms_iou)
        if numbers is not None:
            objects = objects.take(np.isin(objects.classes, numbers))
        most = options.max_detections or thresholds.max_detections
        return self._detections(current.size, objects, most)

    def _candidates(self, outputs: dict[str, NDArray[np.generic]], min_score: float) -> Candidates:
        with np.errstate(all="ignore"):  # a network may return NaN and infinity
            candidates = self._traits.read(outputs, self.manifest, min_score)
        known = np.array([bool(name) for name in self.manifest.labels])
        finite = np.asarray(np.isfinite(candidates.boxes).all(axis=1))
        candidates = candidates.take(
            finite & (candidates.classes >= 0) & (candidates.classes < len(known))
        )
        candidates = candidates.take(known[candidates.classes])
        if self._traits.needs_suppression:
            candidates = suppress(candidates, self.manifest.thresholds.nms_iou)
        return candidates

    def _wanted(self, header: Header, options: DetectOptions) -> tuple[int, int]:
        return wanted_size(*upright_size(header), self.manifest.input, options.tiles or 1)

    def _wanted_classes(self, options: DetectOptions) -> list[int] | None:
        if options.classes is None:
            return None
        unknown = [name for name in options.classes if name not in self._numbers]
        if unknown:
            raise UnknownClass(self.manifest.name, unknown, self._numbers)
        return [self._numbers[name] for name in options.classes]

    def _detections(self, size: tuple[int, int], objects: Candidates, most: int) -> Detections:
        sized = np.asarray((objects.boxes[:, 2:] > objects.boxes[:, :2]).all(axis=1))
        rows = objects.take(sized).best_first()
        return Detections(
            model=self._reference,
            image=ImageSize(width=size[0], height=size[1]),
            detections=tuple(
                self._detection(box, score, number)
                for box, score, number in zip(
                    rows.boxes[:most].tolist(),
                    rows.scores[:most].tolist(),
                    rows.classes[:most].tolist(),
                    strict=True,
                )
            ),
        )

    def _detection(self, box: list[float], score: float, number: int) -> Detection:
        left, top, right, bottom = (round(side, _BOX_DIGITS) for side in box)
        return Detection(
            label=self.manifest.labels[number],
            class_id=number,
            score=round(min(max(score, 0.0), 1.0), _SCORE_DIGITS),
            box=Box(x_min=left, y_min=top, x_max=right, y_max=bottom),
        )
