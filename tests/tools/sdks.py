"""Clients that are generated from `docs/openapi.json`, for tests that call them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.tools.npm import FOLDER, NPM, install, run, tool

ROOT = FOLDER.parents[1]
DOCUMENT = ROOT / "docs" / "openapi.json"
CLIENT_JS = ROOT / "clients" / "js"


def javascript_client() -> None:
    """Build our own JavaScript client and let programs beside this file import it."""
    assert NPM is not None
    install(CLIENT_JS)
    run([NPM, "run", "build"], CLIENT_JS)
    install()
    link = FOLDER / "node_modules" / "blindgate"
    if not link.is_symlink():
        link.symlink_to(CLIENT_JS)


def typescript() -> Path:
    """Generate with @hey-api/openapi-ts and type-check it; the folder of compiled programs."""
    javascript_client()
    tool("openapi-ts", "-i", DOCUMENT, "-o", FOLDER / "dist" / "client")
    tool("tsc", "-p", FOLDER)
    return FOLDER / "dist" / "js" / "src"


def python_generator() -> Path:
    """Install openapi-python-client; its program.

    It has an environment of its own: it wants an older typer than ours.
    """
    environment = FOLDER / ".venv"
    program = environment / "bin" / "openapi-python-client"
    lock = FOLDER / "openapi-python-client.txt"
    if not program.exists() or program.stat().st_mtime < lock.stat().st_mtime:
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True)
        pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
        run([*pip, "--disable-pip-version-check", "--require-hashes", "-r", lock], FOLDER)
        program.touch()
    return program


def python(folder: Path) -> None:
    """Generate with openapi-python-client into a package `generated` in a folder."""
    done = subprocess.run(
        [
            *(python_generator(), "generate", "--path", DOCUMENT, "--meta", "none"),
            *("--config", FOLDER / "openapi-python-client.yaml"),
            *("--output-path", folder / "generated"),
        ],
        # It tidies its output with ruff, which is beside our own Python.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said, said
