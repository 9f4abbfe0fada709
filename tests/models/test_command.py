"""`blindgate models …`: what it prints whole, what it keeps, and what it removes."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from enclave_app.detector.manifest import parse_manifest
from models import quantize
from models.cache import write_whole
from models.check import fitted, install
from models.coco import Accuracy
from models.errors import FetchError
from models.quantize import Quantized
from models.registry import find, names
from tests import command_line
from tests.models.test_check import NETWORK, TOML

if TYPE_CHECKING:
    from tests.command_line import Done

SHIPPED = "ssd-mobilenet-v2-coco"


def models(*words: object) -> Done:
    return command_line.run("models", *words)


@pytest.fixture
def mine(cache: Path, tmp_path: Path) -> Path:
    """A model of the user's own, in the cache."""
    onnx, manifest = tmp_path / "mine.onnx", tmp_path / "mine.toml"
    onnx.write_bytes(NETWORK)
    manifest.write_text(TOML)
    return install(onnx, fitted(onnx, manifest)[1], "mine", cache)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}
    (folder / "instances.json").write_text(json.dumps(rows))
    return folder


def twin(ap: float, speedup: float) -> Quantized:
    manifest = TOML.replace('"mine"', '"mine-int8"').encode()
    base = Accuracy(0.4, 0.4, 0.4, 0.4, 0.4, 0.4, pictures=1)
    return Quantized(
        manifest=parse_manifest(manifest, "twin"),
        manifest_file=manifest,
        ranges_file=b"{}",
        onnx=NETWORK,
        base=base,
        accuracy=replace(base, ap=ap),
        speedup=speedup,
    )


@pytest.mark.parametrize("terminal", ["0", "1"])
def test_a_digest_is_never_cut_off(
    cache: Path, monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    model = find(SHIPPED)
    shown = models("info", SHIPPED).stdout
    assert model.digest.hex() in shown
    assert str(model.manifest.onnx_sha256) in shown
    assert "\u2026" not in shown


def test_what_is_known_of_a_model_is_json_too(cache: Path) -> None:
    model = find(SHIPPED)
    about = json.loads(models("info", SHIPPED, "--json").stdout)
    assert about["manifest_sha256"] == model.digest.hex()
    assert about["onnx_sha256"] == model.manifest.onnx_sha256
    assert about["thresholds"]["score"] == model.manifest.thresholds.score


def test_a_list_that_is_piped_is_whole(cache: Path, mine: Path) -> None:
    shown = models("list").stdout
    for name in (*names(), "mine"):
        assert name in shown
        assert find(name).manifest.licence.spdx in shown
    assert "\u2026" not in shown


def test_a_model_can_be_removed(mine: Path) -> None:
    done = models("remove", "mine")
    assert (done.exit_code, done.stderr) == (0, f"removed: {mine}\n")
    assert not mine.exists()
    assert "the cache has no model 'mine'" in models("remove", "mine").stderr


def test_what_is_not_a_models_name_removes_nothing(mine: Path, tmp_path: Path) -> None:
    beside = mine.parent.parent / "sources"
    beside.mkdir()
    for name in (".", "..", "../sources", "mine/", str(beside), ""):
        assert models("remove", name).exit_code == 1
    assert mine.is_dir()
    assert beside.is_dir()


@pytest.mark.parametrize(("ap", "speedup"), [(0.3, 2.0), (0.4, 0.9)], ids=["accuracy", "speed"])
def test_a_bad_trade_is_not_kept(
    mine: Path,
    coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ap: float,
    speedup: float,
) -> None:
    monkeypatch.setattr(quantize, "quantized", lambda *_, **__: twin(ap, speedup))
    arguments = ("quantize", "mine", "--calibrate", coco / "images", "--coco", coco)
    kept = tmp_path / "kept"
    done = models(*arguments, "--write", kept)
    assert done.exit_code == 1
    assert f"AP {ap:.4f} (float: 0.4000), {speedup:.2f} times as fast" in done.stdout
    assert "not a good trade, so nothing was kept: use mine" in done.stderr
    assert not kept.exists()
    assert not (mine.parent / "mine-int8").exists()
    assert models(*arguments, "--write", kept, "--force").exit_code == 0
    assert (kept / "model.toml").is_file()
    assert (mine.parent / "mine-int8" / "model.onnx").is_file()


def test_a_good_trade_is_kept_once(mine: Path, coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "quantized", lambda *_, **__: twin(0.4, 2.0))
    arguments = ("quantize", "mine", "--calibrate", coco / "images", "--coco", coco)
    done = models(*arguments)
    assert done.exit_code == 0
    assert f"in {mine.parent / 'mine-int8'}" in done.stderr

    def never(*_: Any, **__: Any) -> Quantized:
        raise AssertionError

    monkeypatch.setattr(quantize, "quantized", never)
    assert "the cache has a model mine-int8 already" in models(*arguments).stderr


def test_another_model_of_a_name_is_not_replaced(mine: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "mine.toml"
    before = (mine / "model.toml").read_bytes()
    arguments = ("check", tmp_path / "mine.onnx", "--manifest", manifest, "--install")
    assert models(*arguments).exit_code == 0  # the same one again
    manifest.write_text(TOML.replace('version = "1"', 'version = "2"'))
    done = models(*arguments)
    assert done.exit_code == 1
    assert "the cache has another model mine already" in done.stderr
    assert (mine / "model.toml").read_bytes() == before
    assert models(*arguments, "--force").exit_code == 0
    assert b'version = "2"' in (mine / "model.toml").read_bytes()


def test_a_shipped_name_cannot_be_taken(mine: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "mine.toml"
    manifest.write_text(TOML.replace('"mine"', f'"{SHIPPED}"'))
    done = models("check", tmp_path / "mine.onnx", "--manifest", manifest, "--install", "--force")
    assert done.exit_code == 1
    assert f"{SHIPPED} is the name of a model that ships" in done.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"before")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FetchError, match=f"cannot write {path}: {os.strerror(number)}"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
