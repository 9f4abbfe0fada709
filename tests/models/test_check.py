from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from typer.testing import CliRunner

from enclave_app.detector import Detector, ModelError
from enclave_app.detector.manifest import read_manifest
from models import calibrate
from models.check import fitted, install
from models.cli import app
from models.errors import FetchError
from models.fetch import pull
from models.registry import added, find
from tests.enclave_app.detector.graphs import constant_detr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NETWORK = constant_detr([[[9, -9]]], [[[0.5, 0.5, 0.5, 0.5]]])
TOML = """name = "mine"
version = "1"
family = "detr"
labels = ["cat", "dog"]
licence = { spdx = "MIT" }
input = { width = 64, height = 64 }
thresholds = { score = 0.5 }
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    onnx, manifest = tmp_path / "mine.onnx", tmp_path / "mine.toml"
    onnx.write_bytes(NETWORK)
    manifest.write_text(TOML)
    return onnx, manifest


def test_a_file_that_fits_can_be_installed_and_loaded(
    files: tuple[Path, Path], cache: Path
) -> None:
    detector, text = fitted(*files)
    folder = install(files[0], text, "mine")
    assert folder == cache / "models/mine"
    assert Detector.load(folder).manifest_digest == detector.manifest_digest
    assert added() == ["mine"]
    assert find("mine").shipped is False


def test_a_pinned_file_that_is_another_is_refused(files: tuple[Path, Path]) -> None:
    files[1].write_text(f'onnx_sha256 = "{"0" * 64}"\n' + TOML)
    with pytest.raises(ModelError, match="pins another"):
        fitted(*files)


def test_missing_files_are_named(files: tuple[Path, Path]) -> None:
    files[0].unlink()
    with pytest.raises(FetchError, match=r"mine\.onnx"):
        fitted(*files)


def test_the_command_draws_what_it_finds(
    files: tuple[Path, Path], tmp_path: Path, cache: Path
) -> None:
    photo, drawn = tmp_path / "photo.png", tmp_path / "drawn.png"
    Image.new("RGB", (800, 600), (90, 120, 90)).save(photo)
    arguments = ["check", str(files[0]), "--manifest", str(files[1]), "--picture", str(photo)]
    result = CliRunner().invoke(app, [*arguments, "--output", str(drawn), "--install"])
    assert result.exit_code == 0, result.output
    assert "cat 1.000" in result.stdout
    assert (cache / "models/mine/model.onnx").read_bytes() == NETWORK
    with Image.open(drawn) as image:
        assert image.size == (800, 600)
        assert image.getpixel((200, 300)) != (90, 120, 90)


def test_a_model_is_measured_and_quantized_by_command(
    cache: Path,
    vector: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "MAX_VIEWS", 2)
    pull("nanodet-m-416", cache=cache, brought=vector("nanodet_m_416.onnx"))
    full = json.loads((vector("coco-mini") / "instances.json").read_bytes())
    full["images"] = full["images"][:2]
    known = {row["id"] for row in full["images"]}
    full["annotations"] = [row for row in full["annotations"] if row["image_id"] in known]
    (tmp_path / "few/images").mkdir(parents=True)
    (tmp_path / "few/instances.json").write_text(json.dumps(full))
    for row in full["images"]:
        photo = vector("coco-mini") / "images" / row["file_name"]
        (tmp_path / "few/images" / row["file_name"]).write_bytes(photo.read_bytes())
    few = str(tmp_path / "few")
    measured = CliRunner().invoke(app, ["eval", "nanodet-m-416", "--coco", few, "--json"])
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["pictures"] == 2
    arguments = ["quantize", "nanodet-m-416", "--calibrate", few, "--coco", few, "--force"]
    kept = tmp_path / "kept"
    result = CliRunner().invoke(app, [*arguments, "--write", str(kept)])
    assert result.exit_code == 0, result.output
    manifest = read_manifest(kept / "model.toml").manifest
    assert manifest.name == "nanodet-m-416-int8"
    assert manifest.measured is not None
    assert manifest.measured.on == "few"
    assert sorted(path.name for path in kept.iterdir()) == ["NOTICE", "model.toml", "ranges.json"]
    assert Detector.load(cache / "models/nanodet-m-416-int8").manifest in (
        manifest,
        find("nanodet-m-416").manifest,
    )


def test_the_commands_name_and_describe_the_models(cache: Path) -> None:
    listed = CliRunner().invoke(app, ["list"])
    assert listed.exit_code == 0
    assert "yolox-nano" in listed.stdout
    assert "The default is ssd-mobilenet-v2-coco-int8." in listed.stdout
    described = CliRunner().invoke(app, ["info", "yolox-nano"])
    assert described.exit_code == 0
    assert "person, bicycle" in described.stdout
    assert find("yolox-nano", cache).digest.hex()[:20] in described.stdout.replace("\n", "")
