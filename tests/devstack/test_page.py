"""The console is built where it is missing and can be, and otherwise one line says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devstack.page import PAGE, prepare_page

MAKE = shutil.which("make")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH: make and a shell's few programs, npm and a Node."""
    if MAKE is None:
        pytest.skip("there is no make here")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "touch", "echo"):
        (folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    write(folder / "npm", "exit 0")
    write(folder / "node", "echo v20.19.0")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / PAGE).parent.mkdir(parents=True)
    makefile(folder, f"touch {PAGE}")
    return folder


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def makefile(folder: Path, recipe: str) -> None:
    (folder / "Makefile").write_text(f"assets:\n\t@{recipe}\n")


def prepare(root: Path) -> list[str]:
    said: list[str] = []
    prepare_page(said.append, root=root)
    return said


def test_a_page_that_is_missing_is_built_once(programs: Path, checkout: Path) -> None:
    assert prepare(checkout) == ["building the console with npm, once"]
    assert (checkout / PAGE).is_file()
    assert prepare(checkout) == []


@pytest.mark.parametrize("name", ["node", "npm"])
def test_without_node_one_line_says_what_is_missing(
    programs: Path, checkout: Path, name: str
) -> None:
    (programs / name).unlink()
    assert prepare(checkout) == [
        "no console: building it takes Node 20.19 or newer with npm; everything else runs without"
    ]
    assert not (checkout / PAGE).exists()


@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.9", "whatever"])
def test_a_node_that_is_too_old_is_named(programs: Path, checkout: Path, version: str) -> None:
    write(programs / "node", f"echo {version}")
    (said,) = prepare(checkout)
    assert f"Node 20.19 or newer, and this is {version};" in said
    assert not (checkout / PAGE).exists()


def test_a_newer_major_version_will_do(programs: Path, checkout: Path) -> None:
    write(programs / "node", "echo v22.2.0")
    assert prepare(checkout) == ["building the console with npm, once"]


def test_a_build_that_fails_is_one_line(programs: Path, checkout: Path) -> None:
    makefile(checkout, "echo 'npm error code ENOTFOUND' >&2; exit 1")
    assert prepare(checkout)[1:] == ["no console: `make assets` failed: npm error code ENOTFOUND"]


def test_an_installed_wheel_without_a_page_says_so(programs: Path, tmp_path: Path) -> None:
    (said,) = prepare(tmp_path)
    assert "this installation holds none" in said
