from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx
import pytest

from enclave_app.detector import Detector
from enclave_app.detector.manifest import (
    ONNX_FILE,
    ManifestFile,
    QuantizeBuild,
    parse_manifest,
)
from models import calibrate
from models.calibrate import Ranges, measure
from models.errors import BuildError
from models.fetch import pull
from models.qdq import Plan
from models.quantize import from_ranges
from models.registry import DEFAULT, find
from models.stem import end_of_stem
from models.toml import manifest_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_shipped_integer_network_is_reproducible_to_the_byte(float_folder: Path) -> None:
    model = find("ssd-mobilenet-v2-coco-int8")
    ranges = Ranges.from_json((model.folder / "ranges.json").read_bytes())
    network = (float_folder / ONNX_FILE).read_bytes()
    assert ranges.base == hashlib.sha256(network).hexdigest()
    build = model.manifest.build
    assert isinstance(build, QuantizeBuild)
    made = from_ranges(network, ranges, build.leave, build.stem)
    assert hashlib.sha256(made).hexdigest() == model.manifest.onnx_sha256


def test_the_shipped_stem_ends_where_it_should(float_folder: Path) -> None:
    model = find("ssd-mobilenet-v2-coco-int8")
    ranges = Ranges.from_json((model.folder / "ranges.json").read_bytes())
    made = from_ranges((float_folder / ONNX_FILE).read_bytes(), ranges)
    build = model.manifest.build
    assert isinstance(build, QuantizeBuild)
    end = end_of_stem(onnx.load_from_string(made), model.manifest.input.batch)
    assert end == build.stem


def test_the_default_brings_the_model_that_stands_in_for_it() -> None:
    folder = pull(DEFAULT)
    manifest = Detector.load(folder).manifest
    other = find(DEFAULT).manifest.cpu.otherwise
    assert other is not None
    assert (folder.parent / other / ONNX_FILE).is_file()
    assert manifest.known_labels == find(other).manifest.known_labels


def test_ranges_are_measured_on_pictures_and_their_parts(
    float_folder: Path,
    vector: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "MAX_VIEWS", 2)
    photo = next((vector("coco-mini") / "images").glob("*.jpg")).read_bytes()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/photo.any").write_bytes(photo)
    (tmp_path / "notes.txt").write_text("no picture")
    network = (float_folder / ONNX_FILE).read_bytes()
    found = measure(network, Detector.load(float_folder), "ab", tmp_path)
    assert (found.base, found.pictures, found.views) == ("ab", 1, 2)
    assert list(found.ranges) == Plan(onnx.load_from_string(network)).tensors
    low, high = found.ranges["FeatureExtractor/MobilenetV2/Conv/Relu6"]
    assert (low, high) == (0, 6)
    assert Ranges.from_json(found.to_json()) == found
    # made from them, it still is a detector
    read = ManifestFile(find("ssd-mobilenet-v2-coco").manifest, b"")
    Detector.from_onnx(read, from_ranges(network, found)).detect(photo)


def test_a_folder_without_pictures_is_refused(float_folder: Path, tmp_path: Path) -> None:
    network = (float_folder / ONNX_FILE).read_bytes()
    with pytest.raises(BuildError, match="holds no image"):
        measure(network, Detector.load(float_folder), "", tmp_path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"ranges": {"a": [1]}}', b"\xff"])
def test_damaged_ranges_are_refused(data: bytes) -> None:
    with pytest.raises(BuildError, match="damaged"):
        Ranges.from_json(data)


@pytest.mark.parametrize("name", ["ssd-mobilenet-v2-coco-int8", "nanodet-m-416", "yolox-nano"])
def test_a_written_manifest_reads_back_the_same(name: str) -> None:
    manifest = find(name).manifest
    text = manifest_toml(manifest, "a comment\nof two lines")
    assert parse_manifest(text) == manifest
    assert b'labels = "coco-' in text


def test_the_shipped_manifest_is_the_one_that_is_measured() -> None:
    measured = find(DEFAULT).manifest.measured
    assert measured is not None
    assert measured.base_ap is not None
    assert measured.base_ap - measured.ap <= 0.005
    assert measured.speedup is not None
    assert measured.speedup >= 2.5
