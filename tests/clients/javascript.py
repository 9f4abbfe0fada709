"""Building and running the JavaScript client."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.builds import once
from tests.tools import npm

FOLDER = Path(__file__).resolve().parents[2] / "clients" / "js"
NPM = shutil.which("npm")
NODE = shutil.which("node")

#: For modules whose tests need it.
needs_node = [
    pytest.mark.skipif(
        NODE is None or NPM is None, reason="node and npm are not installed on this machine"
    ),
    # The first run installs the locked packages and compiles.
    pytest.mark.timeout(600),
]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=FOLDER,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def counted(output: str, what: str) -> int:
    """A figure of the summary that node's runner ends with, in either of its formats."""
    found = re.search(rf"^(?:#|ℹ) {what} (\d+)$", output, re.MULTILINE)  # noqa: RUF001
    assert found is not None, output[-2000:]
    return int(found[1])


def build() -> Path:
    """Install what the lock file names and compile; nothing if that was done already.

    Returns:
        A file that is renewed by every build.
    """
    npm.install(FOLDER)
    stamp = FOLDER / "dist" / ".built"
    inputs = [FOLDER / "src", FOLDER / "test", FOLDER / "node_modules" / ".package-lock.json"]
    once(FOLDER, stamp, [*inputs, *FOLDER.glob("*.json")], _compile)
    return stamp


def _compile() -> None:
    assert NPM is not None
    run(NPM, "run", "build")


@pytest.fixture(scope="module")
def built() -> None:
    """The client is compiled."""
    build()
