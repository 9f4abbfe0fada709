"""Where downloads and intermediate results are kept between builds."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """`$BLINDGATE_CACHE`, or `~/.cache/blindgate`."""
    named = os.environ.get("BLINDGATE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "blindgate"


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A new folder that appears under its name only when it is complete.

    Two builds may make the same one at the same time; what they make is the same, so the first
    to finish wins.

    Args:
        folder: The name it gets at the end.

    Yields:
        An empty folder on the same file system.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:32]}-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        with contextlib.suppress(FileExistsError, OSError):
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name[:32]}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)
