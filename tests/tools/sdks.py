"""Clients that are generated from `docs/openapi.json`, for tests that call them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

from tests.builds import once
from tests.clients import javascript
from tests.tools.npm import FOLDER, install, run, tool

ROOT = FOLDER.parents[1]
DOCUMENT = ROOT / "docs" / "openapi.json"


def javascript_client() -> Path:
    """Build our own JavaScript client and let programs in this folder import it.

    Returns:
        A file that is renewed by every build.
    """
    stamp = javascript.build()
    install()
    link = FOLDER / "node_modules" / "blindgate"
    with suppress(FileExistsError):
        link.symlink_to(javascript.FOLDER)
    return stamp


def typescript() -> Path:
    """Generate with @hey-api/openapi-ts and type-check it; the folder of compiled programs."""
    client = javascript_client()
    inputs = [DOCUMENT, client, FOLDER / "src", FOLDER / "tsconfig.json"]
    once(FOLDER, FOLDER / "dist" / ".built", inputs, _generate_and_compile)
    return FOLDER / "dist" / "js" / "src"


def _generate_and_compile() -> None:
    tool("openapi-ts", "-i", DOCUMENT, "-o", FOLDER / "dist" / "client")
    tool("tsc", "-p", FOLDER)


def python_generator() -> Path:
    """Install openapi-python-client; its program.

    It has an environment of its own: it wants an older typer than ours.
    """
    environment = FOLDER / ".venv"
    program = environment / "bin" / "openapi-python-client"
    lock = FOLDER / "openapi-python-client.txt"

    def make() -> None:
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True)
        pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
        run([*pip, "--disable-pip-version-check", "--require-hashes", "-r", lock], FOLDER)

    once(FOLDER, program, [lock], make)
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
