"""Quantize a model to int8, and measure what that gains in speed and costs in accuracy."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from enclave_app.detector import Detector
from enclave_app.detector.manifest import (
    MANIFEST_FILE,
    ONNX_FILE,
    Cpu,
    Manifest,
    ManifestFile,
    Measured,
    ModelDerived,
    QuantizeBuild,
    read_manifest,
)
from models import qdq
from models.cache import write_whole
from models.calibrate import Ranges, measure
from models.coco import Accuracy, CocoSet, evaluate
from models.progress import silent
from models.stem import end_of_stem, with_stem
from models.toml import manifest_toml

if TYPE_CHECKING:
    from pathlib import Path

    from models.progress import Progress

RANGES_FILE: Final = "ranges.json"
SUFFIX: Final = "-int8"
#: What may stay in floats, the fastest first.
CHOICES: Final[tuple[tuple[qdq.Left, ...], ...]] = (
    (),
    ("heads",),
    ("depthwise",),
    ("heads", "depthwise"),
)
#: Average precision that 8 bits may cost.
MOST_LOST: Final = 0.005
_ROUNDS: Final = 25


@dataclass(frozen=True)
class Quantized:
    """A model and its int8 version."""

    manifest: Manifest
    manifest_file: bytes
    ranges_file: bytes
    onnx: bytes
    base: Accuracy
    accuracy: Accuracy
    #: How many times faster than the float network, on this processor, at one thread.
    speedup: float


def quantized(
    folder: Path,
    pictures: Path,
    data: CocoSet,
    data_name: str,
    progress: Progress = silent,
    *,
    batch: int = 1,
) -> Quantized:
    """Quantize a model.

    Args:
        folder: The float model, pulled.
        pictures: A folder of photos like those of production, for the calibration.
        data: Annotated images to measure both on; preferably not those of the calibration.
        data_name: What the manifest calls them.
        progress: Is told what happens.
        batch: Pictures that one run of the twin may take.

    Raises:
        BuildError: There is nothing to calibrate with, or nothing to quantize.
        ModelError: The network takes no such batch.
    """
    base, network = read_manifest(folder / MANIFEST_FILE), (folder / ONNX_FILE).read_bytes()
    before = Detector.from_onnx(base, network)
    base_sha256 = hashlib.sha256(network).hexdigest()
    ranges = measure(network, before, base_sha256, pictures, progress)
    base_accuracy = evaluate(before.detect, data, progress=progress)
    wanted = base.manifest.input.model_copy(update={"batch": batch})
    leave, made, after, accuracy = _most_integer(
        base.manifest.model_copy(update={"input": wanted}),
        network,
        ranges,
        data,
        base_accuracy.ap,
        progress,
    )
    integer = onnx.load_from_string(made)
    stem = end_of_stem(integer, batch)
    if stem is not None:
        made = with_stem(integer, stem)
        after = Detector.from_onnx(ManifestFile(after.manifest, b""), made)
    speedup = times_as_fast(before, after)
    ranges_file = ranges.to_json()
    manifest = base.manifest.model_copy(
        update={
            "name": base.manifest.name + SUFFIX,
            "input": wanted,
            "title": f"{base.manifest.title or base.manifest.name}, in 8-bit integers",
            "onnx_sha256": hashlib.sha256(made).hexdigest(),
            "source": ModelDerived(kind="model", name=base.manifest.name, onnx_sha256=base_sha256),
            "build": QuantizeBuild(
                kind="quantize",
                ranges=RANGES_FILE,
                ranges_sha256=hashlib.sha256(ranges_file).hexdigest(),
                leave=leave,
                stem=stem,
            ),
            "cpu": Cpu(needs=("int8-dot",), otherwise=base.manifest.name),
            "measured": Measured(
                on=data_name,
                ap=round(accuracy.ap, 4),
                ap_50=round(accuracy.ap_50, 4),
                base_ap=round(base_accuracy.ap, 4),
                speedup=round(speedup, 2),
            ),
        }
    )
    option = f" --batch {batch}" if batch > 1 else ""
    comment = f"Made by: blindgate models quantize {base.manifest.name}{option}"
    return Quantized(
        manifest=manifest,
        manifest_file=manifest_toml(manifest, comment),
        ranges_file=ranges_file,
        onnx=made,
        base=base_accuracy,
        accuracy=accuracy,
        speedup=speedup,
    )


def _most_integer(
    manifest: Manifest,
    network: bytes,
    ranges: Ranges,
    data: CocoSet,
    base_ap: float,
    progress: Progress,
) -> tuple[tuple[qdq.Left, ...], bytes, Detector, Accuracy]:
    """The first of the choices that costs no more accuracy than is allowed; else the best."""
    tried = []
    for done, leave in enumerate(CHOICES):
        progress("choosing the layers", done, len(CHOICES))
        made = from_ranges(network, ranges, leave)
        detector = Detector.from_onnx(ManifestFile(manifest, b""), made)
        tried.append((leave, made, detector, evaluate(detector.detect, data)))
        if tried[-1][3].ap >= base_ap - MOST_LOST:
            break
    progress("choosing the layers", len(CHOICES), len(CHOICES))
    within = [one for one in tried if one[3].ap >= base_ap - MOST_LOST]
    return within[0] if within else max(tried, key=lambda one: one[3].ap)


def from_ranges(
    network: bytes,
    ranges: Ranges,
    leave: tuple[qdq.Left, ...] = (),
    stem: str | None = None,
) -> bytes:
    """The 8-bit network from the float one and its ranges: the same bytes on every machine."""
    made = qdq.quantize(qdq.upgraded(onnx.load_from_string(network)), ranges.ranges, leave)
    return made if stem is None else with_stem(onnx.load_from_string(made), stem)


def times_as_fast(before: Detector, after: Detector) -> float:
    """How many times as fast one network is as another, both at one thread.

    They take turns, and the quickest run of each counts: others on the machine only slow them.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for detector, seconds in zip((before, after), taken, strict=True):
            wanted = detector.manifest.input
            grey = np.full((wanted.height, wanted.width, 3), 127, np.uint8)
            start = time.perf_counter()
            detector.run_network(grey)
            seconds.append(time.perf_counter() - start)
    return min(taken[0]) / min(taken[1])


def kept_files(folder: Path) -> tuple[Path, ...]:
    """The files that `keep` writes, but for the notice, whose name the model decides."""
    return folder / RANGES_FILE, folder / MANIFEST_FILE


def keep(twin: Quantized, base: Path, folder: Path) -> None:
    """Write what git keeps of a twin: manifest, ranges and the licence's notice, no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RANGES_FILE, twin.ranges_file)
    notice = twin.manifest.licence.notice
    if notice is not None:
        write_whole(folder / notice, (base / notice).read_bytes())
    write_whole(folder / MANIFEST_FILE, twin.manifest_file)


def install(twin: Quantized, base: Path, folder: Path) -> Path:
    """Write a twin into the cache, whole.

    Args:
        twin: What to write.
        base: The float model's folder, for the licence's notice.
        folder: Where to.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    write_whole(folder / ONNX_FILE, twin.onnx)
    keep(twin, base, folder)
    return folder
