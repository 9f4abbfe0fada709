"""The JavaScript client: its own tests, and a live exchange with a gateway over real HTTP."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from blindgate import problems
from blindgate.attestation.trust import AWS_NITRO_FINGERPRINT
from devstack.nsm import DevRoot
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest
from tests.blindgate.client.gateway import FOUND, PCRS, Enclave, Gateway, write_state
from tests.clients.javascript import FOLDER, NODE, NPM, built, counted, needs_node, run

__all__ = ["built"]

pytestmark = needs_node


@pytest.fixture
def enclave() -> Enclave:
    def handle(request: InnerRequest) -> InnerAnswer:
        if request.path != "/v1/detections":
            return InnerAnswer.of_problem(problems.NOT_FOUND)
        return InnerAnswer(200, FOUND.to_json())

    enclave = Enclave(DevRoot.generate())
    enclave.handler = handle
    return enclave


@pytest.fixture
def url(enclave: Enclave) -> Iterator[str]:
    gateway = Gateway(enclave)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = httpx.Request(
                self.command, f"http://{self.headers['host']}{self.path}",
                headers=dict(self.headers.items()), content=body,
            )  # fmt: skip
            response = gateway(request)
            self.send_response(response.status_code)
            self.send_header("content-type", response.headers["content-type"])
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("built")
def test_the_javascript_client_passes_its_own_tests() -> None:
    assert NODE is not None
    output = run(NODE, "--test", "dist/test/")
    assert counted(output, "fail") == 0
    assert counted(output, "pass") > 150


@pytest.mark.usefixtures("built")
def test_the_javascript_client_speaks_to_a_gateway(
    url: str, enclave: Enclave, tmp_path: Path
) -> None:
    """Node's WebCrypto and hpke-js on one side, Python's cryptography on the other: X-Wing."""
    assert NODE is not None
    state = tmp_path / "state"
    write_state(state, enclave.root, PCRS)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff the bytes of a photo")
    output = run(
        NODE, "--test", "dist/test/live.test.js",
        BLINDGATE_URL=url,
        BLINDGATE_DEV_ROOT=str(state),
        BLINDGATE_PHOTO=str(photo),
        BLINDGATE_LABEL="airplane",
    )  # fmt: skip
    assert counted(output, "pass") == 4
    assert counted(output, "skipped") == 0
    assert enclave.asked[0].content == photo.read_bytes()
    assert enclave.asked[0].header("content-type") == "image/jpeg"


def test_a_package_holds_what_is_built_even_if_nothing_was_built_before(
    built: None, tmp_path: Path
) -> None:
    assert NPM is not None
    copy = tmp_path / "js"
    left_out = shutil.ignore_patterns("dist", "node_modules")
    shutil.copytree(FOLDER, copy, ignore=left_out)
    (copy / "node_modules").symlink_to(FOLDER / "node_modules")
    done = subprocess.run(
        [NPM, "pack", "--silent"],
        cwd=copy, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with tarfile.open(copy / done.stdout.split()[-1]) as package:
        names = {name.removeprefix("package/") for name in package.getnames()}
    assert {"dist/src/index.js", "dist/src/index.d.ts", "src/index.ts", "README.md"} <= names
    assert "LICENSE" in names
    assert (FOLDER / "LICENSE").read_bytes() == (FOLDER.parents[1] / "LICENSE").read_bytes()


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()


def test_both_clients_pin_the_same_root() -> None:
    source = (FOLDER / "src" / "attestation.ts").read_text()
    assert f'AWS_NITRO_ROOT = "{AWS_NITRO_FINGERPRINT}"' in source
