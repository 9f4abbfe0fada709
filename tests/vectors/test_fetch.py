"""Real test data that is not in the repository can be fetched, and is what it should be."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.vectors import fetch, places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT = (places.REAL / "attestation/2025-04-15-nautilus-7e916453.bin").read_bytes()
SHA256 = hashlib.sha256(DOCUMENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _layouts() -> dict[str, bytes]:
    hexadecimal, plain = DOCUMENT.hex(), base64.b64encode(DOCUMENT).decode()
    pieces = [hexadecimal[at : at + 64] for at in range(0, len(hexadecimal), 64)]
    lines = [plain[at : at + 76] for at in range(0, len(plain), 76)]
    return {
        "as it is": DOCUMENT,
        "hexadecimal": hexadecimal.encode() + b"\n",
        "Move": b'let payload =\n  x"' + hexadecimal.encode() + b'";',
        "Solidity": b'bytes a = hex"' + '"\n  hex"'.join(pieces).encode() + b'";',
        "Go base64": b"var doc = `" + plain.encode() + b"`",
        "TypeScript": ("const a =\n  '" + "' +\n  '".join(lines) + "';").encode(),
        "JSON": json.dumps({"attestation": plain}).encode(),
        "JSON with breaks": json.dumps({"attestation": "\n".join(lines)}).encode(),
        "C": ", ".join(f"0x{byte:02X}" for byte in DOCUMENT).encode(),
        "calldata": b'{"input": "0x' + (bytes(68) + DOCUMENT + bytes(28)).hex().encode() + b'"}',
    }


@pytest.mark.parametrize("layout", _layouts())
def test_a_document_is_found_however_it_is_written(layout: str) -> None:
    assert fetch.pick(_layouts()[layout], len(DOCUMENT), SHA256) == DOCUMENT


def test_a_document_with_one_other_bit_is_not_taken() -> None:
    other = bytes([*DOCUMENT[:-1], DOCUMENT[-1] ^ 1])
    with pytest.raises(fetch.FetchError, match="nothing in it has the SHA-256"):
        fetch.pick(other.hex().encode(), len(DOCUMENT), SHA256)


def test_what_is_fetched_is_found_by_the_tests(
    mirror: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, url = mirror
    (folder / "someone/enclaves/abc/src").mkdir(parents=True)
    (folder / "someone/enclaves/abc/src/doc_test.go").write_bytes(_layouts()["Go base64"])
    there = fetch.Source(
        "attestation/a.bin", "someone/enclaves", "abc", "src/doc_test.go", len(DOCUMENT), SHA256
    )
    absent = fetch.Source("photo.jpg", "someone/enclaves", "abc", "photo.jpg", 1, SHA256)
    monkeypatch.setattr(fetch, "SOURCES", (there, absent))
    assert fetch.main(tmp_path / "fetched", url) == 1
    said = capsys.readouterr()
    assert said.out == "attestation/a.bin  from someone/enclaves\n"
    assert "missing: photo.jpg" in said.err
    assert "404" in said.err
    assert (tmp_path / "fetched/attestation/a.bin").read_bytes() == DOCUMENT
    sidecar = json.loads((tmp_path / "fetched/attestation/a.json").read_text())
    ours = json.loads((places.REAL / "attestation/2025-04-15-nautilus-7e916453.json").read_text())
    assert {key: sidecar[key] for key in ("module_id", "timestamp_ms", "debug_mode", "sha256")} == {
        key: ours[key] for key in ("module_id", "timestamp_ms", "debug_mode", "sha256")
    }


def test_nothing_is_fetched_twice(mirror: tuple[Path, str], tmp_path: Path) -> None:
    source = fetch.Source("a.bin", "no/such", "x", "y", len(DOCUMENT), SHA256)
    (tmp_path / "a.bin").write_bytes(DOCUMENT)
    fetch.fetch(source, tmp_path, mirror[1])
    (tmp_path / "a.bin").write_bytes(b"cut off")
    with pytest.raises(fetch.FetchError, match="404"):
        fetch.fetch(source, tmp_path, mirror[1])


def test_an_unreachable_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(fetch.FetchError, match="no/such"):
        fetch.fetch(
            fetch.Source("a.bin", "no/such", "x", "y", 1, SHA256), tmp_path, "http://127.0.0.1:9"
        )


def test_every_file_of_the_repository_has_a_source_and_a_licence() -> None:
    readme = (places.REAL / "README.md").read_text()
    for path in (places.REAL / "attestation").glob("*.json"):
        about = json.loads(path.read_text())
        document = path.with_suffix(".bin").read_bytes()
        assert about["source"]
        assert about["licence"] in ("Apache-2.0", "ISC", "MIT")
        assert hashlib.sha256(document).hexdigest() == about["sha256"]
        repository = about["source"][0].split(":")[0]
        assert f"| {repository} | {about['licence']}" in readme
    annotations = json.loads((places.REAL / "coco-mini/instances.json").read_text())
    images = {row["file_name"]: row for row in annotations["images"]}
    assert {path.name for path in (places.REAL / "coco-mini/images").iterdir()} == set(images)
    assert {row["license"] for row in images.values()} == {4}
    assert annotations["licenses"][0]["url"] == "https://creativecommons.org/licenses/by/2.0/"
    assert all(row["flickr_url"] for row in images.values())
    size = sum(path.stat().st_size for path in places.REAL.rglob("*") if path.is_file())
    assert size < 1_000_000, "keep the repository small"
