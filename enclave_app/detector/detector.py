"""A detector: a model's folder in, what is on a picture out."""

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
#: Finer than a pixel or a score means anything, so that answers are short.
_BOX_DIGITS, _SCORE_DIGITS = 4, 6


def _go_on() -> None:
    """Let a detection run to its end."""


def _in_company() -> bool:
    """That something else may be looked at meanwhile."""
    return False


@dataclass(frozen=True, slots=True)
class Inspected:
    """A picture whose header says that it may be accepted.

    Attributes:
        data: The file.
        header: Its header.
        wanted: The size that suffices.
        decoded_bytes: About how much memory it will take.
    """

    data: bytes | memoryview = field(repr=False)
    header: Header
    wanted: tuple[int, int]
    decoded_bytes: int


Image = bytes | memoryview | Inspected


@dataclass(frozen=True, slots=True)
class Look:
    """A picture, and what is asked of it.

    Attributes:
        image: The file, or what `Detector.inspect` made of it with the same options.
        options: What the client asked.
        checkpoint: Called before each expensive step; what it raises ends the detection.
    """

    image: Image
    options: DetectOptions = _DEFAULTS
    checkpoint: Callable[[], None] = _go_on


@dataclass(slots=True)
class _Sight:
    """A picture that is being looked at: its parts as the network wants them, and what they gave.

    Attributes:
        look: What was asked.
        size: The whole picture's width and height, in pixels.
        places: The regions that are looked at, in pixels of the picture.
        views: The network's input for each, and how to come back from it.
        found: For each region that was looked at, its candidates in pixels of the picture.
        failure: What ended it.
    """

    look: Look
    size: tuple[int, int]
    places: list[Region]
    views: list[tuple[NDArray[np.generic], Placement]]
    found: list[tuple[Region, Candidates]] = field(default_factory=list)
    failure: Exception | None = None

    def goes_on(self) -> bool:
        """Whether the network need still look."""
        if self.failure is None:
            try:
                self.look.checkpoint()
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends this detection
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
        """How many pictures one run of the network takes."""
        return self._network.batch

    def __repr__(self) -> str:
        return f"<Detector {self.manifest.name} {self.manifest.version}>"

    @classmethod
    def load(cls, folder: Path, *, limits: ImageLimits | None = None, threads: int = 1) -> Detector:
        """Load a model, and run it once.

        Args:
            folder: Holds `model.toml` and `model.onnx`. If the manifest asks for what this
                processor lacks and names a model to use instead, that one is loaded, from the
                folder of its name beside this.
            limits: Of the pictures.
            threads: That a run uses which is alone; with requests in parallel each has one.

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
                raise ModelError(f"{read.manifest.name} stands in and must run on every processor")
        onnx = read_onnx(folder / ONNX_FILE, read.manifest.onnx_sha256)
        return cls.from_onnx(read, onnx, limits=limits, threads=threads)

    @classmethod
    def from_onnx(
        cls, read: ManifestFile, onnx: bytes, *, limits: ImageLimits | None = None, threads: int = 1
    ) -> Detector:
        """The same from an ONNX file's bytes, whatever its manifest pins."""
        wanted = read.manifest.input
        network = Network(onnx, read.manifest, threads=threads)
        detector = cls(read, network, limits or ImageLimits())
        shape = (wanted.height, wanted.width, 3)
        detector.look(np.full(shape, 127, np.uint8))
        noise = np.random.default_rng(0)  # any pictures that differ
        pictures = (
            noise.integers(0, 256, shape, np.uint8) // (at + 1) for at in range(wanted.batch)
        )
        network.check_batch([normalise(each, wanted) for each in pictures])
        return detector

    def inspect(self, image: bytes | memoryview, options: DetectOptions = _DEFAULTS) -> Inspected:
        """Read a picture's header, without decoding anything.

        Raises:
            ImageRejected: The header alone says that it will not be accepted.
            ImageTooLarge: It is over a limit.
        """
        header = inspect(image, self.limits)
        wanted = self._wanted(header, options)
        return Inspected(image, header, wanted, decoded_bytes(header, wanted))

    def decode(
        self,
        image: Image,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _go_on,
    ) -> Picture:
        """Decode a picture as large as the model needs it.

        Args:
            image: The file, or what `inspect` made of it with the same options.
            options: What the client asked.
            checkpoint: Called between pieces of the file; what it raises ends the decoding.

        Raises:
            ImageRejected: It is no picture that we accept.
        """
        seen = image if isinstance(image, Inspected) else self.inspect(image, options)
        return decode(seen.header, seen.wanted, checkpoint)

    def infer(
        self,
        picture: Picture,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _go_on,
    ) -> Detections:
        """Find what is on a decoded picture.

        Args:
            picture: From `decode`, with the same options.
            options: What the client asked.
            checkpoint: Called before each run of the network; what it raises ends the detection.

        Raises:
            UnknownClass: The options name a class that the model does not know.
        """
        sight = self._sight(picture, Look(b"", options, checkpoint))
        self._see([sight])
        return self._concluded(sight)

    def detect(
        self,
        image: Image,
        options: DetectOptions = _DEFAULTS,
        checkpoint: Callable[[], None] = _go_on,
    ) -> Detections:
        """Decode a picture and find what is on it.

        Raises:
            ImageRejected: It is no picture that we accept.
            UnknownClass: The options name a class that the model does not know.
        """
        (found,) = self.detect_together([Look(image, options, checkpoint)])
        if isinstance(found, Exception):
            raise found
        return found

    def detect_together(
        self, looks: Iterable[Look], *, alone: Callable[[], bool] = _in_company
    ) -> list[Detections | Exception]:
        """Look at several pictures, in as few runs of the network as its batch allows.

        Args:
            looks: The pictures, and what is asked of each; each is decoded before the next one
                is drawn.
            alone: Asked before each run of the network: whether nothing else is looked at.

        Returns:
            For each what was found, exactly as if it had been alone, or what `detect` would raise.
        """
        begun: list[_Sight | Exception] = []
        for look in looks:
            try:
                self._wanted_classes(look.options)
                look.checkpoint()
                picture = self.decode(look.image, look.options, look.checkpoint)
                begun.append(self._sight(picture, look))
            except Exception as error:  # noqa: BLE001 - of this picture alone
                begun.append(error)
        self._see([sight for sight in begun if isinstance(sight, _Sight)], alone=alone)
        found: list[Detections | Exception] = []
        for sight in begun:
            try:
                found.append(self._concluded(sight) if isinstance(sight, _Sight) else sight)
            except Exception as error:  # noqa: BLE001 - of this picture alone
                found.append(error)
        return found

    def look(self, pixels: NDArray[np.uint8], min_score: float = 0.5) -> Candidates:
        """Run the network on pixels of exactly the input's size: boxes in pixels of the input."""
        (outputs,) = self._network.run([normalise(pixels, self.manifest.input)])
        return self._candidates(outputs, min_score)

    def _sight(self, picture: Picture, look: Look) -> _Sight:
        places = regions(picture.width, picture.height, look.options.tiles or 1)
        views = [prepare(picture, region, self.manifest.input) for region in places]
        return _Sight(look, (picture.width, picture.height), places, views)

    def _see(self, sights: Sequence[_Sight], *, alone: Callable[[], bool] = _in_company) -> None:
        """Run the network on every view; what goes wrong is noted with those it concerns."""
        views = [(sight, at) for sight in sights for at in range(len(sight.views))]
        for start in range(0, len(views), self._network.batch):
            run = [(s, at) for s, at in views[start : start + self._network.batch] if s.goes_on()]
            try:
                tensors = [s.views[at][0] for s, at in run]
                outputs = self._network.run(tensors, alone=alone()) if run else []
                for (sight, at), each in zip(run, outputs, strict=True):
                    sight.found.append((sight.places[at], self._seen(sight, at, each)))
            except Exception as error:  # noqa: BLE001 - the network's, so of all in this run
                for sight, _ in run:
                    sight.failure = error

    def _seen(self, sight: _Sight, at: int, outputs: Outputs) -> Candidates:
        seen = self._candidates(outputs, self._min_score(sight.look.options))
        placement = sight.views[at][1]
        return Candidates(placement.to_picture(seen.boxes), seen.scores, seen.classes)

    def _min_score(self, options: DetectOptions) -> float:
        return self.manifest.thresholds.score if options.min_score is None else options.min_score

    def _concluded(self, sight: _Sight) -> Detections:
        """One answer from all views of a picture."""
        if sight.failure is not None:
            raise sight.failure
        found, options, thresholds = sight.found, sight.look.options, self.manifest.thresholds
        numbers = self._wanted_classes(options)
        objects = found[0][1] if len(found) == 1 else merge(found, thresholds.nms_iou)
        if numbers is not None:
            objects = objects.take(np.isin(objects.classes, numbers))
        most = options.max_detections or thresholds.max_detections
        return self._answer(sight.size, objects, most)

    def _candidates(self, outputs: dict[str, NDArray[np.generic]], min_score: float) -> Candidates:
        with np.errstate(all="ignore"):  # a network may give anything; what is no number goes
            seen = self._traits.read(outputs, self.manifest, min_score)
        known = np.array([bool(name) for name in self.manifest.labels])
        finite = np.asarray(np.isfinite(seen.boxes).all(axis=1))
        seen = seen.take(finite & (seen.classes >= 0) & (seen.classes < len(known)))
        seen = seen.take(known[seen.classes])
        if self._traits.needs_suppression:
            seen = suppress(seen, self.manifest.thresholds.nms_iou)
        return seen

    def _wanted(self, header: Header, options: DetectOptions) -> tuple[int, int]:
        return wanted_size(*upright_size(header), self.manifest.input, options.tiles or 1)

    def _wanted_classes(self, options: DetectOptions) -> list[int] | None:
        if options.classes is None:
            return None
        unknown = [name for name in options.classes if name not in self._numbers]
        if unknown:
            raise UnknownClass(self.manifest.name, unknown, self._numbers)
        return [self._numbers[name] for name in options.classes]

    def _answer(self, size: tuple[int, int], objects: Candidates, most: int) -> Detections:
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
