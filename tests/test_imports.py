"""Imports run one way, so that the enclave's image holds what it needs and nothing else.

gateway -> blindgate <- enclave_app        enclave_image -> blindgate
                                           devstack -> enclave_image, blindgate
                                           models -> enclave_app, blindgate
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builds import python_files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "blindgate",
    "gateway",
    "enclave_app",
    "enclave_image",
    "devstack",
    "models",
    "bench",
    "tests",
    "tools",
}
MAY_IMPORT: dict[str, set[str]] = {
    "blindgate": set(),
    "gateway": {"blindgate"},
    "enclave_app": {"blindgate"},
    # The memory that the limits of a measured configuration take decides what an image needs.
    "enclave_image": {"blindgate", "enclave_app"},
    "devstack": {"blindgate", "enclave_image"},
    "models": {"blindgate", "enclave_app"},
    "tools": set(),
}
#: What opens images or runs models has no place beside ciphertext.
NOT_IN_THE_GATEWAY = {"PIL", "numpy", "onnx", "onnxruntime", "scipy", "cv2", "aws_encryption_sdk"}
NOT_IN_THE_ENCLAVE = {
    *("fastapi", "starlette", "uvicorn", "typer", "rich", "httpx"),
    # It only writes messages: what the enclave opens, it opens with `blindgate.envelope`.
    *("aws_encryption_sdk", "boto3"),
}


def files(package: str) -> list[Path]:
    return python_files(ROOT / package)


def imports(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def loaded_by(module: str) -> set[str]:
    """Top-level packages that a fresh interpreter has after importing a module."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    assert files(package)
    for path in files(package):
        wrong = (set(imports(path)) & PACKAGES) - allowed
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_no_file_of_the_gateway_imports_what_could_open_an_image() -> None:
    for path in files("gateway"):
        wrong = set(imports(path)) & NOT_IN_THE_GATEWAY
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_a_running_gateway_has_not_loaded_what_could_open_an_image() -> None:
    loaded = loaded_by("gateway.__main__")
    assert "fastapi" in loaded
    assert not loaded & (NOT_IN_THE_GATEWAY | {"enclave_app", "devstack", "models"})


def test_a_running_worker_has_loaded_nothing_of_the_gateway() -> None:
    loaded = loaded_by("enclave_app.__main__")
    assert "enclave_app" in loaded
    assert not loaded & (NOT_IN_THE_ENCLAVE | {"gateway", "devstack", "models"})
