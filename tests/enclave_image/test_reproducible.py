"""The same bytes from the same inputs: on another day, in another folder, from scratch."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path

import pytest

from blindgate.cache import cache_folder
from devstack.configuration import Configuration
from devstack.model import obtain
from enclave_image.build import Recipe, build
from enclave_image.eif import read
from enclave_image.errors import FetchFailed
from enclave_image.pcrs import measure

pytestmark = [
    pytest.mark.enclave,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="images are built on x86-64 Linux",
    ),
]

MIB = 1024 * 1024


def recipe(folder: Path) -> Recipe:
    folder.mkdir()
    (folder / "enclave.toml").write_text(Configuration().text())
    (folder / "ca.pem").write_text("CERTIFICATE")
    return Recipe(folder / "enclave.toml", obtain())


def test_two_builds_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second has the downloads, which are pinned by digest, and the kernel, which
    # `test_two_kernels_are_equal` builds twice; nothing else of the first.
    fresh = tmp_path / "cache"
    fresh.mkdir()
    for name in ("debian", "wheels", "kernels"):
        (fresh / name).symlink_to(cache_folder() / name)
    try:
        first = build(recipe(tmp_path / "one"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        monkeypatch.setenv("PYTHONHASHSEED", "7")
        second = build(recipe(tmp_path / "two"), cache=fresh)
    except FetchFailed as error:
        pytest.skip(f"the packages of the image cannot be had: {error}")
    assert hashlib.sha256(first.eif).digest() == hashlib.sha256(second.eif).digest()
    assert first.sbom == second.sbom
    assert first.measurements == second.measurements == measure(read(first.eif))

    assert len(first.eif) < 148 * MIB
    assert first.boot_memory <= 1024 * MIB
    assert first.requirements == second.requirements
    assert (first.requirements.memory_mib, first.requirements.cpus) == (2048, 2)
    names = {each["name"] for each in json.loads(first.sbom)["components"]}
    assert {"libc6", "python3.13-minimal", "linux-source-6.12", "onnxruntime", "/init"} <= names
    assert not names & {"httpx", "fastapi", "pip", "setuptools", "protobuf", "rich", "typer"}
    assert not [name for name in names if "gateway" in name or "devstack" in name]
