"""A stack, the page as one file for it, and what a person brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from blindgate.envelope.encryption_sdk import encrypt
from devstack.stack import free_port
from gateway.console.__main__ import main as write_standalone
from tests.console.chromium import build, missing
from tests.e2e.live import live_stack


@contextmanager
def console(folder: Path) -> Iterator[dict[str, str]]:
    """Run a stack; gives the environment that the scripts in `src/` read."""
    port = free_port()
    origins = {"BLINDGATE_CORS_ORIGINS": f"http://127.0.0.1:{port}"}
    with live_stack(environment=origins) as stack:
        state, page = Path(stack.running.state), folder / "console.html"
        photo = Path(str(files("skimage") / "data" / "coffee.png"))
        envelope = folder / "coffee.png.encrypted"
        envelope.write_bytes(
            encrypt(photo.read_bytes(), kms=stack.kms(), key_id=stack.running.key_alias)
        )
        pinned = ["--pcrs", str(state / "pcrs.json"), "--root", str(state / "root.pem")]
        write_standalone(["--gateway", stack.url, *pinned, "--output", str(page)])
        yield {
            "BLINDGATE_URL": stack.url,
            "BLINDGATE_PCRS": str(state / "pcrs.json"),
            "BLINDGATE_PHOTO": str(photo),
            "BLINDGATE_ENVELOPE": str(envelope),
            "BLINDGATE_STANDALONE": str(page),
            "BLINDGATE_STANDALONE_PORT": str(port),
        }


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack whose gateway serves the console, as the environment of the scripts."""
    if reason := missing():
        pytest.skip(reason)
    build()
    with console(tmp_path_factory.mktemp("console")) as environment:
        yield environment
