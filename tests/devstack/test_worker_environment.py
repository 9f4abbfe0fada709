"""The worker runs in the same environment everywhere, as `docs/performance.md` measures it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devstack.stack import WORKER_ENVIRONMENT

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "file", ["enclave_image/init.py", "enclave_app/Dockerfile", "docker-compose.dev.yml"]
)
def test_the_worker_s_environment_is_the_same_everywhere(file: str) -> None:
    found = re.findall(r"((?:MALLOC|ORT)_\w+)\"?[=:] ?\"?(\d+)", (_ROOT / file).read_text())
    assert dict(found) == WORKER_ENVIRONMENT
