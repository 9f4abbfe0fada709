"""Files that a command reads and writes: nothing is lost by a mistyped name.

A command checks where its results will go before it does any work, and writes them at the end:
completely or not at all, never over a file that it was given to read, and over another file only
with `--force`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from blindgate.atomic_files import write_file
from blindgate.cli.console import fail
from blindgate.failures import describe_os_error
from blindgate.imaging import formats

#: The option of every command that may replace a file.
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]


def read_file(path: Path, *, limit: int | None = None) -> bytes:
    """The content of a file that the user named.

    Args:
        path: The file.
        limit: The most bytes that it may have.
    """
    try:
        with path.open("rb") as file:
            content = file.read() if limit is None else file.read(limit + 1)
    except IsADirectoryError:
        fail(f"{path} is a folder, not a file", code=2)
    except OSError as error:
        _cannot("read", path, error)
    if limit is not None and len(content) > limit:
        fail(f"{path} is larger than {limit:,} bytes", code=2)
    return content


def refuse_format(content: bytes, file: Path) -> NoReturn:
    """End the command: the content is no image that the enclave opens.

    Args:
        content: What `formats.image_format` does not know, and no envelope.
        file: Its name.
    """
    name = formats.other_format(content)
    if name is None and formats.is_text(content):
        name = "A text file"
    if name is None:
        fail(
            f"{file} is neither a photo ({formats.ACCEPTED}) nor a file that Blindgate encrypted",
            code=2,
        )
    fail(
        f"{file} is {name[0].lower()}{name[1:]}, which the enclave does not open",
        f"Save it as {formats.ACCEPTED} first",
        code=2,
    )


def check_new(
    target: Path, *, force: bool = False, inputs: Iterable[Path] = (), make_folder: bool = False
) -> None:
    """See that a file may be written, before the work whose result it holds.

    Args:
        target: What will be written.
        force: Whether a file that is there may be replaced.
        inputs: What the command reads: never replaced, by whatever name it is reached.
        make_folder: Whether `write_new` may make the folder.
    """
    for given in inputs:
        if _is_same(target, given):
            fail(f"{target} is what this command reads; it is not overwritten", code=2)
    try:
        found = target.stat()
    except FileNotFoundError:
        if target.is_symlink() and not force:
            fail(f"{target} exists already", "It is a link to a file that is not there")
    except OSError as error:
        _cannot("write", target, error)
    else:
        if stat.S_ISDIR(found.st_mode):
            fail(f"{target} is a folder", "Give the name of a file", code=2)
        if _keeps_nothing(found):
            return
        if not stat.S_ISREG(found.st_mode):
            fail(f"{target} is not a file", code=2)
        if not force:
            fail(f"{target} exists already", "Give another name, or --force to replace it")
    check_folder(target.resolve().parent, make=make_folder)


def check_folder(folder: Path, *, make: bool = False) -> None:
    """See that files can be made in a folder.

    Args:
        folder: The folder.
        make: Whether it will be made if it is not there.
    """
    there = folder
    while make and not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            return
    except FileNotFoundError:
        fail(f"cannot write into {folder}: there is no such folder", code=2)
    except NotADirectoryError:
        fail(f"cannot write into {folder}: {there} is not a folder", code=2)
    except OSError as error:
        _cannot("write into", folder, error)


def write_new(target: Path, data: bytes, *, force: bool = False) -> None:
    """Write a file that `check_new` allowed: it appears complete or not at all.

    Args:
        target: The file; its folder is made if it is not there.
        data: Its content.
        force: Whether it may replace another file; it keeps that file's permissions.
    """
    try:
        if target.exists() and _keeps_nothing(target.stat()):
            target.write_bytes(data)
            return
        path = target.resolve()  # behind a link, so that the link stays one
        mode = stat.S_IMODE(path.stat().st_mode) if force and path.exists() else None
        write_file(path, data, mode=mode, replace=force)
    except FileExistsError:
        fail(f"{target} exists already", "Give another name, or --force to replace it")
    except OSError as error:
        _cannot("write", target, error)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names lead to one file: by links of either kind, or by `..`."""
    with contextlib.suppress(OSError):
        if one.samefile(other):
            return True
    return os.path.realpath(one) == os.path.realpath(other)


def _keeps_nothing(found: os.stat_result) -> bool:
    """Whether this is a terminal, a pipe or a device such as /dev/null."""
    return stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode)


def _cannot(do: str, path: Path, error: OSError) -> NoReturn:
    said = error.strerror or describe_os_error(error)
    fail(f"cannot {do} {path}: {said}", code=2 if do == "read" else 1)
