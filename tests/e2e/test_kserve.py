"""KServe's own SDK against the running stack, unmodified."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.live import LiveStack
from tests.tools.generators import ENVIRONMENT, ROOT

PYTHON = ENVIRONMENT / "python"
PROGRAM = ROOT / "tests" / "tools" / "kserve_client.py"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason="KServe's SDK is not installed: `make test-clients` installs it and runs this",
    ),
]


def test_kserves_sdk_infers(
    stack: LiveStack,
    http: httpx.Client,
    seal: Callable[[bytes], bytes],
    coffee: Path,
    tmp_path: Path,
) -> None:
    model = http.get("/v1/models").json()["models"][0]["name"]
    path = tmp_path / "coffee.encrypted"
    path.write_bytes(seal(coffee.read_bytes()))
    done = subprocess.run(
        [PYTHON, PROGRAM, stack.url, model, path],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    saw = json.loads(done.stdout.splitlines()[-1])
    assert saw.pop("live") is saw.pop("ready") is saw.pop("model") is True
    refused = saw.pop("refused")
    assert "422" in refused
    assert 'parameters.classes: The model has no class "Cup": did you mean "cup"?' in refused
    assert set(saw.pop("asked")) == {"cup"}
    assert saw["binary"] == saw["json"]
    assert "cup" in saw["json"]
