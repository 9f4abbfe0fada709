"""Clients that openapi-generator makes compile, and detect in the running stack.

Java and Kotlin compile against Debian's packages; what Debian does not have of their libraries is
in `tests/tools/generators`: OkHttp on Java's own HTTP client, and two classes for dates.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.live import LiveStack
from tests.tools import generators, npm

# The first run installs the locked compilers; Kotlin's takes a minute of CPU.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500), generators.needs_generator]


def check(command: list[str], stack: LiveStack, envelope: bytes, folder: Path) -> None:
    path = folder / "coffee.encrypted"
    path.write_bytes(envelope)
    done = subprocess.run(
        [*command, stack.url, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    saw = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(saw) - {"form", "sample"} == {"open", "inferred", "refused"}
    assert saw.pop("refused") == "422"
    for labels in saw.values():
        assert "cup" in labels
    assert "bowl" not in saw["open"]  # `classes` was heeded
    assert "bowl" in saw["inferred"]


@pytest.fixture(scope="module")
def envelope(seal: Callable[[bytes], bytes], coffee: Path) -> bytes:
    return seal(coffee.read_bytes())


@npm.needs_npm
def test_a_typescript_client_compiles_and_detects(
    stack: LiveStack, envelope: bytes, tmp_path: Path
) -> None:
    check(generators.typescript(tmp_path), stack, envelope, tmp_path)


@generators.needs_java
def test_a_java_client_compiles_and_detects(
    stack: LiveStack, envelope: bytes, tmp_path: Path
) -> None:
    check(generators.java(tmp_path), stack, envelope, tmp_path)


@generators.needs_kotlin
def test_a_kotlin_client_compiles_and_detects(
    stack: LiveStack, envelope: bytes, tmp_path: Path
) -> None:
    check(generators.kotlin(tmp_path), stack, envelope, tmp_path)
