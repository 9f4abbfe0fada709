"""What our packages import is declared, and private parts of libraries have upper bounds."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.builds import python_files
from tests.requirements import CLIENT, EXTRAS, GROUPS, ROOT

#: Where the requirements of each package are declared.
DECLARED = {
    "blindgate": [*CLIENT, *EXTRAS["cli"]],
    "gateway": [
        *CLIENT,
        *(each for name in ("gateway", "redis", "commands") for each in GROUPS[name]),
    ],
    "enclave_app": [*CLIENT, *GROUPS["enclave"]],
    "enclave_image": [*CLIENT, *GROUPS["image"]],
    "models": [*CLIENT, *GROUPS["models"]],
    "devstack": [*CLIENT, *GROUPS["stack"]],
    "tests": [*CLIENT, *EXTRAS["cli"], *GROUPS["dev"]],
}
#: Modules of distributions that only come as part of another one, by the one that is declared.
PART_OF = {"pydantic_core": "pydantic"}
#: In an environment of its own, locks/clients.txt.
ELSEWHERE = {"tests": {"kserve"}}
OURS = {*DECLARED, "bench", "tools"}
_PROVIDERS = metadata.packages_distributions()


def files(package: str) -> list[Path]:
    return python_files(ROOT / package)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names of the modules of others that a file imports, also inside functions."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                yield name


def distributions(module: str) -> set[str]:
    """The names of the distributions that a module may come from."""
    top = module.partition(".")[0]
    return {canonicalize_name(each) for each in _PROVIDERS.get(PART_OF.get(top, top), [])}


@pytest.mark.parametrize("package", DECLARED)
def test_every_import_is_declared(package: str) -> None:
    declared = {canonicalize_name(Requirement(each).name) for each in DECLARED[package]}
    for path in files(package):
        for module in imports(path):
            if module.partition(".")[0] in ELSEWHERE.get(package, ()):
                continue
            assert distributions(module) & declared, f"{path.relative_to(ROOT)} imports {module}"


def is_private(module: str) -> bool:
    _, *parts = module.split(".")
    return any(part == "internal" or (part[0] == "_" and part[:2] != "__") for part in parts)


#: Private attributes that no import names: the file and the distribution.
REACHED_INTO = {
    ("enclave_app/detector/session.py", "_model_bytes", "onnxruntime"),
    ("blindgate/imaging/decode.py", "_getdecoder", "pillow"),
}


def reached_into() -> set[tuple[str, str]]:
    """Packages of ours and the distributions whose private parts they use."""
    found = {(file.split("/")[0], distribution) for file, _, distribution in REACHED_INTO}
    for package in DECLARED:
        if package == "tests":
            continue
        for path in files(package):
            for module in filter(is_private, imports(path)):
                found |= {(package, each) for each in distributions(module)}
    return found


def test_private_attributes_that_are_listed_are_used() -> None:
    for file, attribute, _ in REACHED_INTO:
        assert attribute in (ROOT / file).read_text(), f"{file} no longer uses {attribute}"
    # What an import shows is found, too.
    assert ("gateway", "h11") in reached_into()


@pytest.mark.parametrize(("package", "distribution"), sorted(reached_into()))
def test_private_parts_of_a_library_imply_an_upper_bound(package: str, distribution: str) -> None:
    bounds = [
        specifier.operator
        for each in map(Requirement, DECLARED[package])
        if canonicalize_name(each.name) == distribution
        for specifier in each.specifier
    ]
    assert {"<", "~="} & set(bounds), f"{package} uses private parts of {distribution}"
