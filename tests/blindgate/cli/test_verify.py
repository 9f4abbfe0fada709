"""`blindgate verify`, against a gateway of the test's own and against real documents."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from typer.testing import CliRunner, Result

from blindgate.attestation import UserData, parse
from blindgate.cli import app, attestation_report
from blindgate.routes import COSE_SIGN1
from devstack.nsm import DevNsm
from tests.vectors.forge import MODULE_ID, NONCE, NOW, PCRS, ROOT, document, pcr

BOUND = UserData(keys=b"k" * 32, model=b"m" * 32, config=b"c" * 32)
IMAGE = {i: PCRS[i] for i in (0, 1, 2)}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def _said(result: Result) -> str:
    """Everything that was printed, as one line."""
    return " ".join(result.output.split())


@pytest.fixture
def dev_root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT.pem)
    return path


@pytest.fixture
def pcrs(tmp_path: Path) -> Path:
    return _pcr_file(tmp_path / "release-7.json", IMAGE)


def _pcr_file(path: Path, values: dict[int, bytes]) -> Path:
    path.write_text(json.dumps({"Measurements": {f"PCR{i}": v.hex() for i, v in values.items()}}))
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "document.bin"
    path.write_bytes(document(user_data=BOUND.encode()))
    return path


@contextmanager
def _gateway(nsm: DevNsm, *, kind: str = COSE_SIGN1, replay: bytes | None = None) -> Iterator[str]:
    """A gateway on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            text = parse_qs(url.query)["nonce"][0]
            nonce = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            assert url.path == "/v1/attestation"
            content = replay or nsm.attest(user_data=BOUND.encode(), nonce=nonce)
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_gateway_is_verified_and_reported(dev_root: Path, pcrs: Path) -> None:
    with _gateway(DevNsm(ROOT, MODULE_ID, IMAGE)) as url:
        result = _run(url, "--pcrs", pcrs, "--dev-root", dev_root)
    assert result.exit_code == 0, result.output
    said = _said(result)
    for expected in (
        f"Enclave {MODULE_ID}",
        f"Signed by {MODULE_ID}.us-east-1.dev",
        "Freshness by its nonce",
        "0 s ago",
        f"SHA-256 {ROOT.root.fingerprint}",
        f"PCR0 image as in release-7.json {IMAGE[0].hex()}",
        "PCR4 parent instance not compared",
        "PCR3, 5-15 not compared zero",
        "purpose blindgate/client/v1",
        BOUND.keys.hex(),
        BOUND.model.hex(),
        BOUND.config.hex(),
        "VERIFIED: release-7.json",
        "This is no Nitro enclave",
    ):
        assert expected in said
    assert said.count(" left") == 5


def test_another_image_is_refused_and_shown(tmp_path: Path, dev_root: Path, pcrs: Path) -> None:
    other = _pcr_file(tmp_path / "release-8.json", {**IMAGE, 2: pcr("8")})
    with _gateway(DevNsm(ROOT, MODULE_ID, {**IMAGE, 2: pcr("9")})) as url:
        result = _run(url, "--pcrs", pcrs, "--pcrs", other, "--dev-root", dev_root)
    assert result.exit_code == 1
    said = _said(result)
    assert "PCR1 kernel and boot ramdisk as in release-7.json, release-8.json" in said
    assert "PCR2 application as in no trusted set" in said
    assert "REFUSED (pcr-mismatch)" in said
    assert "VERIFIED" not in said


def test_one_of_several_images_is_enough(tmp_path: Path, dev_root: Path, pcrs: Path) -> None:
    (tmp_path / "next").mkdir()
    other = _pcr_file(tmp_path / "next" / pcrs.name, {**IMAGE, 2: pcr("8")})
    with _gateway(DevNsm(ROOT, MODULE_ID, {**IMAGE, 2: pcr("8")})) as url:
        result = _run(url, "--pcrs", pcrs, "--pcrs", other, "--dev-root", dev_root)
    assert result.exit_code == 0, result.output
    assert f"VERIFIED: {other}" in result.output


def test_a_replayed_document_is_refused(dev_root: Path, pcrs: Path) -> None:
    nsm = DevNsm(ROOT, MODULE_ID, IMAGE)
    old = nsm.attest(nonce=bytes(32))
    with _gateway(nsm, replay=old) as url:
        result = _run(url, "--pcrs", pcrs, "--dev-root", dev_root)
    assert result.exit_code == 1
    assert "REFUSED (nonce-mismatch)" in _said(result)
    assert "Enclave" not in result.output


def test_the_dev_root_must_be_asked_for(pcrs: Path) -> None:
    with _gateway(DevNsm(ROOT, MODULE_ID, IMAGE)) as url:
        result = _run(url, "--pcrs", pcrs)
    assert result.exit_code == 1
    assert "REFUSED (wrong-root)" in _said(result)


def test_debug_mode_must_be_asked_for(dev_root: Path, pcrs: Path) -> None:
    with _gateway(DevNsm(ROOT, MODULE_ID, IMAGE, debug_mode=True)) as url:
        refused = _run(url, "--pcrs", pcrs, "--dev-root", dev_root)
        allowed = _run(url, "--allow-debug", "--dev-root", dev_root)
    assert refused.exit_code == 1
    assert "REFUSED (debug-mode)" in _said(refused)
    assert allowed.exit_code == 0, allowed.output
    assert "Its parent can read its console" in _said(allowed)


def test_a_response_of_another_media_type_is_refused(dev_root: Path, pcrs: Path) -> None:
    with _gateway(DevNsm(ROOT, MODULE_ID, IMAGE), kind="text/html") as url:
        result = _run(url, "--pcrs", pcrs, "--dev-root", dev_root)
    assert result.exit_code == 1
    assert "instead of application/cose" in _said(result)


def test_a_gateway_that_is_not_there(pcrs: Path) -> None:
    result = _run("http://127.0.0.1:1", "--pcrs", pcrs)
    assert result.exit_code == 1
    assert "no connection to http://127.0.0.1:1" in _said(result)


def test_a_saved_document_at_its_time(saved: Path, dev_root: Path, pcrs: Path) -> None:
    common = ("--document", saved, "--pcrs", pcrs, "--dev-root", dev_root)
    assert _run(*common, "--at", NOW.isoformat()).exit_code == 0
    late = _run(*common, "--at", "2026-06-01T12:05:01Z")
    assert late.exit_code == 1
    assert "REFUSED (timestamp-stale)" in _said(late)
    nonce = base64.urlsafe_b64encode(NONCE).decode().rstrip("=")
    assert _run(*common, "--at", "2026-06-01T14:30:00Z", "--nonce", nonce).exit_code == 0


def test_a_saved_document_is_refused_today(saved: Path, dev_root: Path, pcrs: Path) -> None:
    result = _run("--document", saved, "--pcrs", pcrs, "--dev-root", dev_root)
    assert result.exit_code == 1
    assert "REFUSED" in result.output


def test_a_real_document(vector: Callable[[str], Path], tmp_path: Path) -> None:
    path = vector("attestation/2023-02-10-cli-635677f5.bin")
    parsed = parse(path.read_bytes())
    pcrs = _pcr_file(tmp_path / "real.json", {i: parsed.pcrs[i] for i in (0, 1, 2, 8)})
    result = _run("--document", path, "--pcrs", pcrs, "--at", parsed.timestamp.isoformat())
    assert result.exit_code == 0, result.output
    said = _said(result)
    assert "user_data 746 bytes" in said
    assert "PCR8 image signer as in real.json" in said
    assert "no Nitro enclave" not in said


@pytest.mark.parametrize("name", ["user_data", "public_key", "nonce"])
def test_a_document_that_binds_one_thing_does_not_bind_nothing(
    tmp_path: Path, dev_root: Path, pcrs: Path, name: str
) -> None:
    def said(**bound: bytes) -> str:
        fields: dict[str, Any] = {"user_data": None, "public_key": None, "nonce": None}
        path = tmp_path / "document.bin"
        path.write_bytes(document(**(fields | bound)))
        common = ("--pcrs", pcrs, "--dev-root", dev_root, "--at", NOW.isoformat())
        return _said(_run("--document", path, *common))

    assert "nothing no user_data, no public_key, no nonce" in said()
    assert "no public_key, no nonce" not in said(**{name: b"a thing"})
    assert f"{name} " in said(**{name: b"a thing"})


@pytest.mark.parametrize(
    ("seconds", "span"),
    [
        (-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"),
        (3599, "59 min 59 s"), (3600, "1 h"), (9900, "2 h 45 min"), (86_399, "23 h 59 min"),
        (86_400, "1 d"), (90_061, "1 d 1 h"), (86_461, "1 d 1 min"),
    ],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(seconds: int, span: str) -> None:
    assert attestation_report._span(timedelta(seconds=seconds)) == span


@pytest.mark.parametrize(
    ("indexes", "text"),
    [([5], "5"), ([5, 6], "5-6"), ([3, 5, 6, 7, 9], "3, 5-7, 9"), ([0, 2, 4], "0, 2, 4")],
)
def test_neighbours_are_written_as_a_range(indexes: list[int], text: str) -> None:
    assert attestation_report._ranges(indexes) == text


def test_a_document_that_is_none(tmp_path: Path, pcrs: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(bytes(20_000))
    result = _run("--document", path, "--pcrs", pcrs)
    assert result.exit_code == 1
    assert "REFUSED (document-too-large)" in _said(result)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which gateway to ask"),
        (("http://g", "--gateway", "http://g"), "once"),
        (("http://g", "--trust", "development"), "give it alone"),
        (("http://g", "--document", "d"), "either a URL or --document"),
        (("http://g",), "no measurements"),
        (("http://g", "--at", "2026-01-01T00:00:00Z"), "for --document"),
        (("http://g", "--nonce", "AAAA"), "for --document"),
        (("http://g", "--pcrs", "absent"), "cannot read absent"),
        (("--document", "absent"), "cannot read absent"),
        (("--document", "d", "--at", "noon"), "not an ISO 8601 time"),
        (("--document", "d", "--at", "2026-01-01T00:00:00"), "time zone"),
        (("--document", "d", "--nonce", "!"), "not base64url"),
        (("--document", "d", "--nonce", ""), "not base64url"),
        (("--document", "d", "--dev-root", "absent"), "cannot read absent"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], says: str, pcrs: Path) -> None:
    if says != "no measurements" and "--pcrs" not in arguments:
        arguments = (*arguments, "--pcrs", str(pcrs))
    result = _run(*arguments)
    assert result.exit_code == 2
    assert says in _said(result)
