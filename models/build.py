"""Make a model's ONNX file from its source, as its manifest says."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Protocol, cast

from enclave_app.detector.manifest import CopyBuild, ExportBuild, QuantizeBuild
from models.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from models.registry import ModelSource


class Exporter(Protocol):
    """The interface of the `export.py` next to a manifest."""

    def export(self, source: bytes) -> bytes:
        """The ONNX file's bytes, from the source's; the same for the same source."""
        ...


def load_exporter(path: Path) -> Exporter:
    """Load an exporter by its path: a folder named after a model is no importable package."""
    name = f"models._exporter_{path.parent.name.replace('-', '_').replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BuildError(f"there is no exporter {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return cast("Exporter", module)


def build_onnx(model: ModelSource, source: bytes) -> bytes:
    """Make the ONNX file, and check that it is the one which the manifest pins.

    Args:
        model: Whose.
        source: The source's bytes, already checked.

    Raises:
        BuildError: It cannot be made, or its SHA-256 differs.
    """
    build = model.manifest.build
    if isinstance(build, ExportBuild):
        data = load_exporter(model.folder / build.exporter).export(source)
    elif isinstance(build, QuantizeBuild):
        data = _quantized(model, build, source)
    elif isinstance(build, CopyBuild):
        data = source
    else:
        raise BuildError(f"the manifest of {model.name} does not say how it is built")
    made = hashlib.sha256(data).hexdigest()
    if made != model.manifest.onnx_sha256:
        raise BuildError(
            f"the ONNX file made for {model.name} has the SHA-256 {made}, "
            f"its manifest pins {model.manifest.onnx_sha256}"
        )
    return data


def _quantized(model: ModelSource, build: QuantizeBuild, network: bytes) -> bytes:
    from models.calibrate import Ranges
    from models.quantize import from_ranges

    ranges = (model.folder / build.ranges).read_bytes()
    if hashlib.sha256(ranges).hexdigest() != build.ranges_sha256:
        raise BuildError(f"{build.ranges} of {model.name} is not the one that its manifest pins")
    return from_ranges(network, Ranges.from_json(ranges), build.leave, build.stem)
