"""Builds that several tests use: made once, although the tests run in several processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Folders that tests and tools fill; nothing in them is source code of this repository.
GENERATED = frozenset({"node_modules", ".venv", "dist"})


def python_files(folder: Path) -> list[Path]:
    """The Python files below a folder that are part of the repository, sorted."""
    return sorted(
        path for path in folder.rglob("*.py") if not GENERATED & set(path.relative_to(folder).parts)
    )


def once(folder: Path, stamp: Path, inputs: Iterable[Path], build: Callable[[], object]) -> None:
    """Build unless it was done since the inputs changed.

    Another process that wants the same waits until it is done, and never sees a half-made result.

    Args:
        folder: Its lock is held during the build.
        stamp: A file that the build writes, or that is made after it.
        inputs: Files and folders that the result depends on.
        build: Builds.
    """
    with _exclusive(folder):
        if stamp.exists() and stamp.stat().st_mtime_ns >= max(map(_changed, inputs)):
            return
        build()
        stamp.touch()


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _changed(path: Path) -> int:
    files = (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return max(each.stat().st_mtime_ns for each in files)
