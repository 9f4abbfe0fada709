"""Which locked Python packages the worker can reach by its imports; the others stay outside.

Run by the enclave's own interpreter (`enclave_image.toolchain`), because packages may use
syntax that the interpreter of the build does not know. It needs the standard library alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from enclave_image.closure import imports_of


def reached(first: Iterable[str], folder: Path) -> set[str]:
    """Follow imports through installed files.

    Imports inside functions count, so this may reach a module that never runs; it is the
    distribution that is kept or left out, so an import by a computed name costs nothing as long
    as it stays within its distribution.

    Args:
        first: Dotted names to start from.
        folder: Holds one folder a distribution, with what it would put into site-packages.

    Returns:
        The names of the distributions' folders that are reached.
    """
    index = _index(folder)
    found: set[str] = set()
    waiting = list(first)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if (path := index.get(name)) is None:
            continue
        found.add(path.relative_to(folder).parts[0])
        waiting += [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        if path.suffix == ".py":
            waiting += imports_of(path.read_text(), name, is_package=path.stem == "__init__")
    return found


def _index(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.glob("*/**/*")):
        _, *parts = path.relative_to(folder).parts
        if path.name == "__init__.py":
            parts.pop()
        elif path.suffix in (".py", ".so"):
            # numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so
            parts[-1] = path.name.split(".", maxsplit=1)[0]
        else:
            continue
        found[".".join(parts)] = path
    return found


if __name__ == "__main__":
    names = sys.stdin.read().split()
    json.dump(sorted(reached(names, Path(sys.argv[1]))), sys.stdout)
