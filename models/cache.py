"""Where obtained models lie, outside the repository, and how files get there whole."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from blindgate.atomic_files import PREFIX, write_file
from blindgate.cache import cache_folder
from models.errors import FetchError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


def model_folder(name: str, cache: Path | None = None) -> Path:
    """The folder of an obtained model, whether it is there or not."""
    return (cache or cache_folder()) / "models" / name


def sha256_of(path: Path) -> str | None:
    """The SHA-256 of a file in hexadecimal; None if there is no such file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there complete or not at all, even if the machine stops.

    Raises:
        FetchError: It cannot be written; what was there before is unchanged.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise FetchError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def workshop(name: str, cache: Path | None = None) -> Iterator[Path]:
    """A scratch folder for one model, held by one process at a time.

    Whoever comes second waits, and then finds the work done. What a killed process left is
    removed here.

    Yields:
        An empty folder on the cache's file system; removed at the end.

    Raises:
        FetchError: The cache cannot be written.
    """
    root = (cache or cache_folder()) / "models"
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise FetchError(f"cannot write the cache {root}: {error.strerror}") from None
    scratch = root / f".{name}.scratch"
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(scratch, ignore_errors=True)
        target = model_folder(name, cache)
        for part in target.glob(f"{PREFIX}*"):
            part.unlink(missing_ok=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def remove_model(name: str, cache: Path | None = None) -> Path:
    """Remove a model's folder from the cache.

    Returns:
        The folder that was removed.

    Raises:
        UnknownModelError: The cache has no such model.
        FetchError: It cannot be removed.
    """
    folder = model_folder(name, cache)
    if "/" in name or name.startswith(".") or not name or not folder.is_dir():
        raise UnknownModelError(f"the cache has no model {name!r}")
    with workshop(name, cache):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise FetchError(f"cannot remove {error.filename}: {error.strerror}") from None
    return folder
