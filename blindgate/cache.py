"""Where downloads and intermediate results are kept between builds."""

from __future__ import annotations

import contextlib
import errno
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

    Raises:
        OSError: It cannot be made, or cannot get its name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:32]}-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        try:
            draft.rename(folder)
        except OSError as error:
            # The other build was first; anything else is a failure to make it.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when it is complete.

    Raises:
        OSError: It cannot be written; what was there before is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name[:32]}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp's 0600 is for secrets, which are not written here.
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError as error:
        error.filename = str(path)  # rather than the draft's, which means nothing to a person
        raise
    finally:
        Path(draft).unlink(missing_ok=True)
