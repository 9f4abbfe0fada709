"""Builds that are shared between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builds import once, python_files

ROOT = Path(__file__).resolve().parents[1]


class Build:
    """Counts how often it is made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stamp = folder, folder / "dist" / ".built"
        self.source = folder / "src" / "a.ts"
        self.source.parent.mkdir()
        self.source.write_text("a")
        self.made = 0

    def __call__(self) -> None:
        once(self.folder, self.stamp, [self.source.parent], self._make)

    def _make(self) -> None:
        self.stamp.parent.mkdir(exist_ok=True)
        self.made += 1


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_what_is_built_is_not_built_again(build: Build) -> None:
    build()
    build()
    assert build.made == 1


def test_a_changed_source_is_built_again(build: Build) -> None:
    build()
    later = build.stamp.stat().st_mtime_ns + 1
    os.utime(build.source, ns=(later, later))
    build()
    assert build.made == 2


def test_a_build_that_fails_is_tried_again(build: Build) -> None:
    def fail() -> None:
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        once(build.folder, build.stamp, [build.source], fail)
    build()
    assert build.made == 1


def test_of_several_processes_one_builds_and_the_others_wait_for_it(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from tests.builds import once
folder = Path(sys.argv[1])
def build():
    with (folder / "log").open("a") as log:
        log.write("begin\\n"); log.flush()
        time.sleep(0.3)
        log.write("end\\n")
once(folder, folder / "stamp", [folder / "source"], build)
with (folder / "log").open("a") as log:
    log.write("use\\n")
"""
    (tmp_path / "source").write_text("")
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(3)
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    assert (tmp_path / "log").read_text().split() == ["begin", "end", "use", "use", "use"]


def test_generated_files_are_not_sources(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/dist/d.py", "node_modules/e.py", ".venv/f.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert python_files(tmp_path) == [tmp_path / "a.py", tmp_path / "b" / "c.py"]
