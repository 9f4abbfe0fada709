"""Building what drives Chromium, and running it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.builds import once
from tests.clients.javascript import NODE, NPM
from tests.tools import npm

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
CHROMIUM = os.environ.get("BLINDGATE_CHROMIUM") or shutil.which("chromium")


def missing() -> str:
    """Why nothing can be driven here; empty if it can."""
    if CHROMIUM is None:
        return "Chromium is not installed on this machine: make install-test-packages (Debian)"
    if NODE is None or NPM is None:
        return "node and npm are not installed on this machine"
    version = run(NODE, "--version").strip()
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    if numbers < [20, 19]:
        return f"Node 20.19 or newer is needed to build the console, this is {version}"
    return ""


def build() -> None:
    """Build the console and its driver; nothing if that was done already."""
    assert NPM is not None
    assets = ROOT / "gateway" / "console" / "dist" / "standalone" / "index.html"
    sources = [ROOT / "clients" / "js" / "src", ROOT / "console" / "src"]
    sources += [*(ROOT / "console").glob("*.ts"), *(ROOT / "console").glob("*.html")]
    make = partial(run, "make", "--no-print-directory", "assets", folder=ROOT)
    once(ROOT / "console", assets, sources, make)
    npm.install(FOLDER)
    inputs = [FOLDER / "src", FOLDER / "tsconfig.json", FOLDER / "package-lock.json"]
    once(FOLDER, FOLDER / "dist" / ".built", inputs, partial(run, NPM, "run", "build"))


def run(*command: str, folder: Path = FOLDER, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end.

    Raises:
        AssertionError: It failed; with the end of what it printed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-12000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def node(script: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """Run one of the built scripts of `src/`."""
    assert NODE is not None
    assert CHROMIUM is not None
    options = ["--test"] if script.endswith(".test") else []
    return run(
        *(NODE, *options, f"dist/{script}.js", *arguments),
        environment={**environment, "BLINDGATE_CHROMIUM": CHROMIUM},
    )
