"""The examples of `docs/api.md`, run as they stand in the file, against a guarded gateway."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from PIL import Image

from devstack.stack import free_port
from gateway.auth.caller import Scope
from gateway.auth.key_file import change_keys
from gateway.auth.keys import KeyStore
from tests.e2e.live import live_stack
from tests.tools import npm, sdks

# The first test also waits until its tools are installed and compiled, here or in another process.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
#: A block with a file's name is written to it; one of `sh` is run, and so is one of `python`.
BLOCK = re.compile(r"^```(sh|python|ts|html)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text())
#: What must come out of each, in the order of the page.
EXPECTED = [
    ("sh", r"bgk_[\s\S]*mobile-app[\s\S]*valid until"),
    ("sh", r"urn:blindgate:problem:unauthorized"),
    ("sh", r"VERIFIED[\s\S]*cup"),
    ("sh", r'photo\.jpg\.encrypted[\s\S]*"label":"cup"'),
    ("sh", r'"objects_detected"[\s\S]*"name":"cup"'),
    ("python", r"cup 0\.\d+ "),
    ("python", r"1 2\nphoto\.jpg\.encrypted \['cup'"),
    ("python", r"(\['cup'.*\n){3}"),
    ("python", r"^cup$"),
    ("sh", r"Generating vision"),
    ("python", r"open: .*cup[\s\S]*refused: urn:\S+:envelope-rejected[\s\S]*sealed: .*cup"),
    ("python", r"\['cup'.*\n\[\] urn:blindgate:problem:envelope-rejected"),
    ("sh", r'"name":"labels","datatype":"BYTES","shape":\[1,\d+\],"data":\["cup"'),
    ("sh", r""),
    ("ts", r""),
    ("sh", r"open: [\s\S]*label: 'cup'[\s\S]*sealed: [\s\S]*label: 'cup'[\s\S]*true"),
    ("html", r""),
    ("ts", r""),
    ("sh", r"page\.js"),
]


@pytest.fixture(scope="module")
def folder(coffee: Path) -> Iterator[Path]:
    """Below the tools, so that the programs of npm are found as in a project of one's own."""
    if npm.NPM is None:
        pytest.skip("node and npm are not installed on this machine")
    folder = npm.FOLDER / "dist" / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Image.open(coffee) as photo:
        photo.convert("RGB").save(folder / "photo.jpg", quality=92)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack that wants keys, and the variables of the page."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    scopes = [Scope.DETECT, Scope.ATTEST]
    store, _, key = KeyStore().with_new("docs", scopes, now=datetime.now(UTC))
    change_keys(path, lambda _: store)
    sdks.javascript_client()
    generator = sdks.python_generator()
    port = free_port()
    settings = {
        "BLINDGATE_API_KEYS": str(path),
        "BLINDGATE_CORS_ORIGINS": f"http://127.0.0.1:{port}",
    }
    with live_stack(environment=settings) as stack:
        state = Path(stack.running.state)
        root = x509.load_pem_x509_certificate((state / "root.pem").read_bytes())
        programs = (Path(sys.executable).parent, generator.parent)
        yield {
            **stack.environment,
            "BLINDGATE_GATEWAY": stack.url,
            "BLINDGATE_API_KEY": key,
            "BLINDGATE_TRUST": "development",
            "BLINDGATE_PCRS": str(state / "pcrs.json"),
            "BLINDGATE_ROOT": hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest(),
            "BLINDGATE_KMS_KEY": stack.running.key_alias,
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "COLUMNS": "200",
            "PAGE_PORT": str(port),
        }


def test_every_block_has_its_expectation() -> None:
    assert [kind for kind, _, _ in BLOCKS] == [kind for kind, _ in EXPECTED]


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_the_block_runs_as_it_stands(
    number: int, folder: Path, environment: dict[str, str]
) -> None:
    kind, name, content = BLOCKS[number]
    if kind != "sh":
        (folder / name).write_text(content)
    command = {"sh": ["bash", "-euo", "pipefail", "-c", content], "python": [sys.executable, name]}
    if kind not in command:
        return
    done = subprocess.run(
        command[kind], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert re.search(EXPECTED[number][1], said, re.MULTILINE), said[-4000:]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_finds_the_objects_of_a_photo(folder: Path, environment: dict[str, str]) -> None:
    """The page that the blocks above have made, on an origin of its own, in a real browser."""
    pinned = {
        "gateway": environment["BLINDGATE_GATEWAY"],
        "token": environment["BLINDGATE_API_KEY"],
        "pcrs": json.loads(Path(environment["BLINDGATE_PCRS"]).read_text()),
        "root": environment["BLINDGATE_ROOT"],
    }
    (folder / "config.json").write_text(json.dumps(pinned))
    with served(folder, int(environment["PAGE_PORT"])) as url:
        assert npm.NODE is not None
        program = sdks.typescript() / "page.js"
        said = npm.run([npm.NODE, program, url, folder / "photo.jpg"], npm.FOLDER)
    assert re.search(r"cup: 0\.\d\d", said), said


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """A folder as a web site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.shutdown()
            thread.join()
