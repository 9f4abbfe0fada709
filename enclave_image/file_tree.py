"""Folders on disk to entries of an archive, and back."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from enclave_image.cpio import Entry, file, link


def write_tree(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Write files and symbolic links below a folder; what is there already is replaced."""
    for name, entry in entries.items():
        path = folder / name
        if stat.S_ISDIR(entry.mode):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if stat.S_ISLNK(entry.mode):
            path.symlink_to(entry.data.decode())
        else:
            path.write_bytes(entry.data)
            path.chmod(stat.S_IMODE(entry.mode))


def read_tree(folder: Path) -> dict[str, Entry]:
    """The files and symbolic links below a folder, by relative path."""
    found: dict[str, Entry] = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                found[relative] = link(str(path.readlink()))
            elif path.is_file():
                executable = bool(path.stat().st_mode & stat.S_IXUSR)
                found[relative] = file(path.read_bytes(), executable=executable)
    return found
