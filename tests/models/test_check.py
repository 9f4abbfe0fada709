from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image
from typer.testing import CliRunner

from enclave_app.detector import Detector, ModelError
from models.check import fitted, install
from models.cli import app
from models.errors import FetchError
from models.registry import added, find
from tests.enclave_app.detector.graphs import constant_detr

if TYPE_CHECKING:
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


def test_the_commands_name_and_describe_the_models(cache: Path) -> None:
    listed = CliRunner().invoke(app, ["list"])
    assert listed.exit_code == 0
    assert "yolox-nano" in listed.stdout
    assert "The default is ssd-mobilenet-v2-coco-int8." in listed.stdout
    described = CliRunner().invoke(app, ["info", "yolox-nano"])
    assert described.exit_code == 0
    assert "person, bicycle" in described.stdout
    assert find("yolox-nano", cache).digest.hex()[:20] in described.stdout.replace("\n", "")
