"""The files that the worker is made of: the closure of its imports.

Of our own files exactly these go into the enclave image, and so into PCR0;

    python -m enclave_image.closure FOLDER

copies them. Of the locked packages those are left out that no import reaches. The enclave's own
interpreter looks for them (`enclave_image.toolchain`), because packages may use syntax that the
interpreter of the build does not know. So this module needs the standard library alone.
"""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

#: The folder that holds the packages.
ROOT: Final = Path(__file__).resolve().parents[1]
#: The program that runs in the enclave.
ENTRY: Final = "enclave_app.__main__"
#: Packages of this project; everything else comes from the locked dependency set.
PACKAGES: Final = frozenset(
    {"blindgate", "enclave_app", "enclave_image", "gateway", "devstack", "models", "bench"}
)


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


def external_imports(modules: Mapping[str, Path]) -> frozenset[str]:
    """What modules of ours import from outside this project: dotted names, sorted out by nobody.

    Args:
        modules: Files by dotted name, as `import_closure` gives them.
    """
    names = {each for name, path in modules.items() for each in _imports(path, name)}
    return frozenset(each for each in names if each.split(".", maxsplit=1)[0] not in PACKAGES)


def _imports(path: Path, name: str) -> Iterator[str]:
    return imports_of(path.read_text(), name, is_package=path.name == "__init__.py")


def imports_of(source: str, name: str, *, is_package: bool) -> Iterator[str]:
    """Every dotted name that a module may import; `from a import b` gives `a` and `a.b`.

    Args:
        source: The module's text.
        name: Its dotted name, which relative imports start from.
        is_package: Whether it is the `__init__` of a package.

    Raises:
        SyntaxError: It is not Python.
    """
    package = name if is_package else name.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(source, name)]
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


def print_reached(folder: str) -> None:
    """Print `reached` as JSON, for the dotted names on standard input."""
    json.dump(sorted(reached(sys.stdin.read().split(), Path(folder))), sys.stdout)


def copy_closure(folder: Path) -> None:
    """Copy the worker's own files to a folder from which it can be imported."""
    for path in import_closure().values():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


if __name__ == "__main__":
    copy_closure(Path(sys.argv[1]))
