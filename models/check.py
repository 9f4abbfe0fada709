"""Does a user's ONNX file fit a manifest?"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from enclave_app.detector import Detector
from enclave_app.detector.errors import ModelError
from enclave_app.detector.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    ONNX_FILE,
    ManifestFile,
    parse_manifest,
)
from models.cache import model_folder, sha256_of, workshop, write_whole
from models.errors import FetchError
from models.registry import names

if TYPE_CHECKING:
    from pathlib import Path


def fitted(onnx: Path, manifest: Path) -> tuple[Detector, bytes]:
    """Load an ONNX file by a manifest that may not pin it yet, and run it once.

    Returns:
        The detector, and the manifest's bytes with the file's SHA-256 in them.

    Raises:
        ManifestError: The manifest breaks a rule.
        ModelError: The file is another one than the manifest pins, or does not fit it.
        FetchError: A file cannot be read.
    """
    network, text = _bytes_of(onnx), _bytes_of(manifest)
    found = hashlib.sha256(network).hexdigest()
    parsed = parse_manifest(text[: MAX_MANIFEST_BYTES + 1], str(manifest))
    if parsed.onnx_sha256 is None:
        # a first line belongs to no table, so this is right in front of any manifest
        text = f'onnx_sha256 = "{found}"\n'.encode() + text
        parsed = parse_manifest(text, str(manifest))
    if parsed.onnx_sha256 != found:
        raise ModelError(f"{onnx} has the SHA-256 {found}, {manifest} pins another")
    read = ManifestFile(parsed, hashlib.sha256(text).digest())
    return Detector.from_onnx(read, network), text


def check_name(name: str, digest: bytes, *, force: bool, cache: Path | None = None) -> None:
    """See that a model may get its name in the cache.

    Args:
        name: The model's.
        digest: SHA-256 of its manifest: the same model may be installed again.
        force: Whether it may replace another model of this name that a user brought.
        cache: As for `models.fetch.pull`.

    Raises:
        FetchError: The name is that of a model that ships, or of another one in the cache.
    """
    if name in names():
        raise FetchError(
            f"{name} is the name of a model that ships: choose another in the manifest"
        )
    there = sha256_of(model_folder(name, cache) / MANIFEST_FILE)
    if not force and there not in (None, digest.hex()):
        raise FetchError(f"the cache has another model {name} already; --force replaces it")


def install(onnx: Path, manifest: bytes, name: str, cache: Path | None = None) -> Path:
    """Put a checked model into the cache, so that its name is enough from then on.

    Args:
        onnx: The file.
        manifest: The manifest's bytes, from `fitted`.
        name: The model's.
        cache: As for `models.fetch.pull`.

    Returns:
        The model's folder.
    """
    folder = model_folder(name, cache)
    with workshop(name, cache):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        write_whole(folder / ONNX_FILE, _bytes_of(onnx))
        write_whole(folder / MANIFEST_FILE, manifest)
    return folder


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FetchError(f"cannot read {path}: {error.strerror}") from None
