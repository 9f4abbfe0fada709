"""A stack, the page as one file for it, and what a person brings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from PIL import Image

from blindgate.envelope.encryption_sdk import encrypt
from devstack.stack import free_port
from gateway.console.__main__ import main as write_standalone
from tests.console.chromium import build, missing
from tests.console.photos import write_photos
from tests.e2e.live import LiveStack, live_stack

_ORIENTATION = 0x0112


@contextmanager
def console(folder: Path) -> Iterator[dict[str, str]]:
    """Run a stack and a second gateway; gives the environment that the scripts in `src/` read."""
    port = free_port()
    origins = {"BLINDGATE_CORS_ORIGINS": f"http://127.0.0.1:{port}"}
    with live_stack(environment=origins) as stack:
        state, page = Path(stack.running.state), folder / "console.html"
        photo = Path(str(files("skimage") / "data" / "coffee.png"))
        envelope = folder / "coffee.png.encrypted"
        envelope.write_bytes(
            encrypt(photo.read_bytes(), kms=stack.kms(), key_id=stack.running.key_alias)
        )
        turned = folder / "turned.jpg"
        with Image.open(photo) as picture:
            exif = Image.Exif()
            exif[_ORIENTATION] = 6  # stored on its side: to be shown a quarter turn clockwise
            side = picture.convert("RGB").transpose(Image.Transpose.ROTATE_90)
            side.save(turned, quality=92, exif=exif)
        photos = folder / "photos"
        write_photos(photos)
        pinned = ["--pcrs", str(state / "pcrs.json"), "--root", str(state / "root.pem")]
        write_standalone(["--gateway", stack.url, *pinned, "--output", str(page)])
        with guarded(stack, folder) as signing_in:
            yield {
                "BLINDGATE_URL": stack.url,
                "BLINDGATE_PCRS": str(state / "pcrs.json"),
                "BLINDGATE_PHOTO": str(photo),
                "BLINDGATE_ENVELOPE": str(envelope),
                "BLINDGATE_TURNED_PHOTO": str(turned),
                "BLINDGATE_PHOTOS": str(photos),
                "BLINDGATE_STANDALONE": str(page),
                "BLINDGATE_STANDALONE_PORT": str(port),
                **signing_in,
            }


@contextmanager
def guarded(stack: LiveStack, folder: Path) -> Iterator[dict[str, str]]:
    """A second gateway before the same worker, at which callers must sign in."""
    keys = folder / "keys.json"
    made = {
        scope: re.findall(r"bgk_\w{16}_[\w-]{43}", printed.stdout)[0]
        for scope in ("detect", "attest")
        for printed in [
            stack.cli(
                "keys", "create", scope, "--scope", "attest", "--scope", scope, "--file", keys
            )
        ]
    }
    state, port = Path(stack.running.state), free_port()
    environment = {
        "BLINDGATE_PORT": str(port),
        "BLINDGATE_ENCLAVES": f"unix://{state}/run/worker",
        "BLINDGATE_PCRS": str(state / "pcrs.json"),
        "BLINDGATE_ROOT": str(state / "root.pem"),
        "BLINDGATE_API_KEYS": str(keys),
        "AWS_CONFIG_FILE": str(state / "kms" / "aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(state / "kms" / "aws" / "credentials"),
        "AWS_PROFILE": "parent",
    }
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, folder / "gateway.log")
            yield {
                "BLINDGATE_GUARDED_URL": url,
                "BLINDGATE_KEY": made["detect"],
                "BLINDGATE_WEAK_KEY": made["attest"],
            }
        finally:
            process.terminate()
            process.wait(timeout=150)


def _wait_until_ready(url: str, log: Path) -> None:
    ends = time.monotonic() + 150
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < ends:
            with suppress(httpx.TransportError):
                if client.get(f"{url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)
    raise AssertionError(f"the second gateway did not start:\n{log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack whose gateway serves the console, as the environment of the scripts."""
    if reason := missing():
        pytest.skip(reason)
    build()
    with console(tmp_path_factory.mktemp("console")) as environment:
        yield environment
