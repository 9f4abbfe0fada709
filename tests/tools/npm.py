"""Programs of npm that are locked beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.builds import once

FOLDER = Path(__file__).resolve().parent
NPM = shutil.which("npm")
NODE = shutil.which("node")

needs_npm = pytest.mark.skipif(
    NPM is None or NODE is None, reason="node and npm are not installed on this machine"
)


def install(folder: Path = FOLDER) -> None:
    """Install what a lock file names; nothing if that was done already."""
    assert NPM is not None
    command: list[str | Path] = [NPM, "ci", "--no-audit", "--no-fund"]
    stamp = folder / "node_modules" / ".package-lock.json"
    once(folder, stamp, [folder / "package-lock.json"], partial(run, command, folder))


def tool(name: str, *arguments: str | Path) -> str:
    """Run an installed program; what it prints."""
    return run([FOLDER / "node_modules" / ".bin" / name, *arguments], FOLDER)


def run(command: list[str | Path], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        # No linter asks its maker for news of itself.
        env={
            **os.environ,
            "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
            "REDOCLY_TELEMETRY": "off",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{output[-6000:]}"
    return output
