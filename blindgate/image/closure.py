"""Which of our own files the worker is made of: the closure of its imports.

What goes into the enclave image, and so into PCR0, is exactly this list.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: The folder that holds the packages.
ROOT: Final = Path(__file__).resolve().parents[2]
#: The program that runs in the enclave.
ENTRY: Final = "enclave_app.__main__"
#: Packages of this project; everything else comes from the locked dependency set.
PACKAGES: Final = frozenset({"blindgate", "enclave_app", "gateway", "devstack", "models", "bench"})


def import_closure(entry: str = ENTRY, root: Path = ROOT) -> dict[str, Path]:
    """Follow the imports of a module through this project's packages, without running anything.

    Imports inside functions count, imports for type checkers alone do not.

    Args:
        entry: The dotted name to start from.
        root: The folder that holds the packages.

    Returns:
        The file of each module that is reached, by dotted name, in order of the names.
    """
    found: dict[str, Path] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or (path := _file(name, root)) is None:
            continue
        found[name] = path
        waiting += [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        waiting += _imports(path, name)
    return dict(sorted(found.items()))


def _file(name: str, root: Path) -> Path | None:
    if name.split(".", maxsplit=1)[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(path: Path, name: str) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text(), str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*start, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)
