"""What builds and drives the console comes from lock files, and a built page is in the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.console.assets import SERVED
from tests.console.chromium import FOLDER, ROOT

CONSOLE = ROOT / "console"


@pytest.mark.parametrize("folder", [CONSOLE, FOLDER], ids=["console", "tests"])
def test_the_lock_file_names_no_registry(folder: Path) -> None:
    lock = (folder / "package-lock.json").read_text()
    assert "resolved" not in lock
    packages = json.loads(lock)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)


def test_the_page_is_in_the_wheel_and_its_sources_are_not(tmp_path: Path) -> None:
    if not SERVED.is_dir():
        pytest.skip("the console was not built on this machine: make assets needs Node 20.19")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    folder = ROOT / "applications"
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=500)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("gateway/console/")]
    assert "gateway/console/dist/served/index.html" in names
    assert "gateway/console/dist/standalone/index.html" in names
    assert not [name for name in names if name.endswith((".ts", "package.json", ".npmrc"))]
    assert not [name for name in names if "node_modules" in name]
