"""Calibration: measures the range of values of each tensor of a network on real images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime

from blindgate.detections import DetectOptions
from blindgate.imaging.errors import ImageRejected
from enclave_app.detector import Detector
from enclave_app.detector.preprocess import prepare
from enclave_app.detector.tiles import regions
from models.errors import BuildError
from models.progress import silent
from models.qdq import Plan, upgraded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.progress import Progress

#: Each image counts as a whole and as its tiles, so that few images give many views.
TILES: Final = (2, 3)
MAX_VIEWS: Final = 600
#: One value in this many may lie outside a tensor's range: an outlier would coarsen all others.
ONE_IN: Final = 100_000
#: Digits that are kept: far finer than a step of an 8-bit tensor, and readable.
_DIGITS: Final = 6


@dataclass(frozen=True)
class Ranges:
    """Value ranges by tensor, and where they come from."""

    #: SHA-256 of the float network.
    base: str
    pictures: int
    views: int
    ranges: dict[str, tuple[float, float]]

    def to_json(self) -> bytes:
        """As a file, one tensor a line."""
        head = {"base": self.base, "pictures": self.pictures, "views": self.views}
        rows = [f"    {json.dumps(name)}: {json.dumps(pair)}" for name, pair in self.ranges.items()]
        return (json.dumps(head)[:-1] + ', "ranges": {\n' + ",\n".join(rows) + "\n}}\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Ranges:
        """Read such a file.

        Raises:
            BuildError: It is none.
        """
        try:
            read = json.loads(data)
            ranges = {
                str(name): (float(low), float(high)) for name, (low, high) in read["ranges"].items()
            }
            return cls(str(read["base"]), int(read["pictures"]), int(read["views"]), ranges)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BuildError("the file of value ranges is damaged") from None


def measure(
    network: bytes, detector: Detector, base: str, folder: Path, progress: Progress = silent
) -> Ranges:
    """Run a network on every image of a folder and record the ranges of its tensors.

    Args:
        network: The float network.
        detector: The same, loaded: it decodes and preprocesses the images.
        base: The network's SHA-256.
        folder: JPEG, PNG and WebP files, at any depth; other files are passed over.
        progress: Called for each image.

    Raises:
        BuildError: The folder holds no image.
    """
    model = upgraded(onnx.load_from_string(network))
    names = Plan(model).tensors
    session, feed = _with_outputs(model, names)
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    pictures = views = 0
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for done, path in enumerate(files):
        progress("measuring value ranges", done, len(files))
        seen = False
        for tensor in _views(detector, path):
            if views >= MAX_VIEWS:
                break
            seen, views = True, views + 1
            for name, values in zip(names, session.run(names, {feed: tensor}), strict=True):
                ends = _ends(values)
                low[name], high[name] = min(low[name], ends[0]), max(high[name], ends[1])
        pictures += seen
    progress("measuring value ranges", len(files), len(files))
    if not views:
        raise BuildError(f"{folder} holds no image to calibrate with")
    found = {name: (_short(low[name]), _short(high[name])) for name in names}
    return Ranges(base, pictures, views, found)


def _views(detector: Detector, path: Path) -> Iterator[NDArray[np.generic]]:
    options = DetectOptions(tiles=max(TILES))
    try:
        picture = detector.decode(path.read_bytes(), options)
    except ImageRejected:
        return
    places = regions(picture.width, picture.height, TILES[0])
    places += regions(picture.width, picture.height, TILES[1])[1:]
    for place in places:
        yield prepare(picture, place, detector.manifest.input)[0]


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> tuple[Any, str]:
    """A session that gives the named tensors, exactly as the network has them."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, session.get_inputs()[0].name


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    flat = values.reshape(-1)
    apart = len(flat) // ONE_IN
    if not apart:
        return float(flat.min()), float(flat.max())
    ordered = np.partition(flat, (apart, len(flat) - 1 - apart))
    return float(ordered[apart]), float(ordered[len(flat) - 1 - apart])


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
