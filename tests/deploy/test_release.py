"""A release: the same bytes every time, and it installs and starts without a package index."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.deploy import terraform as tf

PINS = tf.ROOT / "deploy" / "pins.py"


#: What its wheels are built from, and what else a release holds.
SOURCES = ("applications", "blindgate", "gateway", "deploy", "locks")


@pytest.fixture(scope="module")
def source(everything: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, so that two builds see the same."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("releases are built with Python 3.11, which the instances have")
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in SOURCES:
        shutil.copytree(tf.ROOT / name, folder / name, ignore=ignored)
    # What git ignores stays out of wheels.
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(tf.ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def release(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "release.tar.gz"
    make(source, path)
    return path


def make(source: Path, path: Path) -> None:
    command = [sys.executable, str(source / "deploy" / "release.py"), "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_there_is_not_replaced_and_nothing_is_built(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "release.tar.gz"
    match kind:
        case "file":
            path.write_text("an older one")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "absent")
    done = subprocess.run(
        [sys.executable, tf.ROOT / "deploy" / "release.py", "-o", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "give" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["release.tar.gz"]
    assert kind != "file" or path.read_text() == "an older one"


def test_with_force_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    script = runpy.run_path(str(tf.ROOT / "deploy" / "release.py"))
    source, path = tmp_path / "source", tmp_path / "release.tar.gz"
    source.write_text("content")
    path.write_text("an older one")
    script["check_output"](path, force=True)
    with pytest.raises(FileExistsError):
        script["pack"]({"source": source}, path)
    assert path.read_text() == "an older one"
    script["pack"]({"source": source}, path, force=True)
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["source"]


@pytest.mark.timeout(600)
def test_two_builds_are_the_same_bytes(source: Path, release: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar.gz"
    make(source, again)
    assert again.read_bytes() == release.read_bytes()


@pytest.mark.timeout(600)
def test_it_installs_without_an_index_and_starts(release: Path, tmp_path: Path) -> None:
    """The commands of install.sh that are about Python, with Python 3.11 as on the instances."""
    python = shutil.which("python3.11")
    if python is None:
        pytest.skip("python3.11, which the instances have, is not on this machine")
    with tarfile.open(release) as archive:
        archive.extractall(tmp_path, filter="data")
    script = (tmp_path / "systemd" / "install.sh").read_text()
    lines = script.split("install -d", 1)[0].replace("${1:?usage: install.sh REGION [--fips]}", "r")
    part = tmp_path / "systemd" / "python-part.sh"
    part.write_text(lines)
    installed = subprocess.run(
        ["bash", str(part)],
        env={"PATH": "/usr/bin:/bin", "PYTHON": python, "PIP_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    for command in (["-m", "gateway"], ["venv/bin/blindgate-gateway"], ["systemd/enclave_unit.py"]):
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "python", *command, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_a_release_holds_nothing_that_opens_images(release: Path) -> None:
    with tarfile.open(release) as archive:
        names = archive.getnames()
    packages = {name.split("/")[1].split("-")[0] for name in names if name.startswith("wheels/")}
    assert {"blindgate", "blindgate_applications", "fastapi", "uvicorn"} <= packages
    assert not packages & {"onnxruntime", "pillow", "numpy"}
    assert {"systemd/install.sh", "systemd/blindgate-gateway.service"} <= set(names)


def test_pins_come_with_their_hashes() -> None:
    lock = str(tf.ROOT / "locks" / "dev.txt")
    done = subprocess.run(
        [sys.executable, PINS, lock, "hatchling"], capture_output=True, text=True, check=True
    )
    entries = [line for line in done.stdout.splitlines() if "==" in line]
    assert entries[0].startswith("hatchling==")
    assert done.stdout.count("--hash=sha256:") >= len(entries)
    # All that it needs, or pip would refuse: everything must come by hash.
    needed = {re.split(r"[^A-Za-z0-9-]", each)[0] for each in metadata.requires("hatchling") or []}
    assert needed <= {line.split("==")[0] for line in entries} | {"tomli"}


def test_a_pin_that_is_not_there_is_an_error() -> None:
    lock = str(tf.ROOT / "locks" / "dev.txt")
    done = subprocess.run(
        [sys.executable, PINS, lock, "no-such-package"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no-such-package" in done.stderr
