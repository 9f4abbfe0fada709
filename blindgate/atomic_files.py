"""Files and folders that appear under their names complete, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

#: Names of incomplete files begin so; what a killed process left can be found by it.
PREFIX: Final = ".part-"
#: File systems without hard links (FAT, some network shares) say one of these.
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)


@contextlib.contextmanager
def writing(path: Path, *, mode: int | None = 0o644, replace: bool = True) -> Iterator[BinaryIO]:
    """Write a file that gets its name when the block ends, after its content is on the disk.

    A reader sees the old content or the new one; a crash in between loses neither.

    Args:
        path: The file. Its folder must exist.
        mode: Its permissions; None leaves them to the umask.
        replace: Whether it may replace another file.

    Yields:
        The new file, open for writing.

    Raises:
        FileExistsError: There is such a file, and it may not be replaced.
        OSError: It cannot be written; what was there before is unchanged.
    """
    draft = path.with_name(f"{PREFIX}{secrets.token_hex(8)}-{path.name[:32]}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o666 if mode is None else 0o600), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # which no umask changes
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            _move_to_new(draft, path)
    except OSError as error:
        error.filename = str(path)  # rather than the draft's, which means nothing to a person
        raise
    finally:
        draft.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, *, mode: int | None = 0o644, replace: bool = True) -> None:
    """Write a whole file: see `writing`. Its folder is made if it is not there.

    Raises:
        FileExistsError: There is such a file, and it may not be replaced.
        OSError: It cannot be written; what was there before is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path, mode=mode, replace=replace) as file:
        file.write(data)


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that appears under its name only when it is complete.

    Two builds may make the same one concurrently; their results are the same, so the first to
    finish wins.

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


def _move_to_new(draft: Path, path: Path) -> None:
    """Give a draft its name unless the name is taken, in one step."""
    try:
        path.hardlink_to(draft)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.rename(path)
