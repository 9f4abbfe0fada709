"""The ramdisks of an image, each made from its own inputs.

1. boot: `init`, and the modules of a kernel that was brought along;
2. runtime: the interpreter, the locked packages, the libraries that they need;
3. application: our code, the configuration, the CA bundle, the model.

So a change of the configuration makes the small third one anew and leaves the others alone.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from blindgate.atomic_files import making_folder, write_file
from blindgate.cache import cache_folder
from enclave_image import manifest
from enclave_image.architecture import X86_64, Architecture
from enclave_image.closure import ROOT, external_imports, import_closure
from enclave_image.cpio import FOLDER, Entry, archive, file
from enclave_image.errors import ImageError
from enclave_image.file_tree import read_tree, write_tree
from enclave_image.toolchain import Toolchain, entries_of
from enclave_image.wheels import Wheel, read_files

_HERE: Final = Path(__file__).resolve().parent
#: The program that `init` starts.
ENTRIES: Final = ("enclave_app.__main__",)
INIT: Final = _HERE / "init.py"
_MOUNT_POINTS: Final = ("dev", "proc", "sys", "tmp")
#: What the enclave's interpreter runs: `enclave_image.closure` as a module copies files.
_REACHED: Final = "import sys; from enclave_image.closure import print_reached as p; p(sys.argv[1])"
#: What decides the bytes of a layer besides its inputs.
_RECIPES: Final = (
    "bytecode.py",
    "closure.py",
    "cpio.py",
    "elf.py",
    "file_tree.py",
    "layers.py",
    "manifest.py",
    "toolchain.py",
    "wheels.py",
    "debian/deb.py",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One ramdisk.

    Attributes:
        ramdisk: The compressed archive.
        unpacked: Bytes of its files, which stay in memory as long as the enclave runs.
        sources: Names of the locked packages whose files it holds.
    """

    ramdisk: bytes
    unpacked: int
    sources: tuple[str, ...] = ()


def _layer(toolchain: Toolchain, files: Mapping[str, Entry], sources: Iterable[str] = ()) -> Layer:
    unpacked = sum(len(entry.data) for entry in files.values())
    return Layer(toolchain.compress(archive(files)), unpacked, tuple(sorted(sources)))


def boot(toolchain: Toolchain, modules: Mapping[str, bytes]) -> Layer:
    """The first ramdisk.

    Args:
        toolchain: Compresses.
        modules: The kernel's modules by file name, in the order of inserting.
    """
    files: dict[str, Entry] = dict.fromkeys(_MOUNT_POINTS, FOLDER)
    files["init"] = file(INIT.read_bytes(), executable=True)
    for number, (name, data) in enumerate(modules.items()):
        files[f"modules/{number:02}-{name}"] = file(data)
    return _layer(toolchain, files)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The second ramdisk, and its files on disk to try things with.

    Attributes:
        layer: The ramdisk.
        tree: The folder of its files.
    """

    layer: Layer
    tree: Path


def runtime(
    toolchain: Toolchain,
    packages: Mapping[str, Path],
    wheels: Iterable[Wheel],
    architecture: Architecture = X86_64,
    *,
    cache: Path | None = None,
) -> Runtime:
    """The second ramdisk: made once for each set of locked inputs, then taken from the cache.

    Args:
        toolchain: Follows imports, compiles and compresses.
        packages: The files of locked Debian packages, by name.
        wheels: All locked wheels.
        architecture: Of the enclave.
        cache: Default: `cache_folder()`.

    Raises:
        ImageError: A library is needed that nothing brings.
    """
    wheels = list(wheels)
    imports = sorted(_external_imports())
    folder = (cache or cache_folder()) / "layers" / _key(toolchain, packages, wheels, imports)
    if not folder.is_dir():
        with making_folder(folder) as draft:
            files = entries_of(packages)
            layer = _make_runtime(toolchain, files, wheels, imports, architecture, draft)
            write_file(draft / "ramdisk", layer.ramdisk)
            facts = {**asdict(layer), "ramdisk": hashlib.sha256(layer.ramdisk).hexdigest()}
            write_file(draft / "facts.json", json.dumps(facts).encode())
    facts = json.loads((folder / "facts.json").read_text())
    ramdisk = (folder / "ramdisk").read_bytes()
    if hashlib.sha256(ramdisk).hexdigest() != facts["ramdisk"]:
        raise ImageError(f"{folder} in the cache is damaged; remove it and build again")
    return Runtime(Layer(ramdisk, facts["unpacked"], tuple(facts["sources"])), folder / "tree")


def _external_imports() -> set[str]:
    found = set(manifest.IMPORTED_IN_C)
    for entry in ENTRIES:
        found |= external_imports(import_closure(entry))
    return found


def _key(
    toolchain: Toolchain,
    packages: Mapping[str, Path],
    wheels: Iterable[Wheel],
    imports: Iterable[str],
) -> str:
    parts = [toolchain.folder.name, *sorted(path.name for path in packages.values()), *imports]
    parts += [wheel.sha256 for wheel in wheels]
    parts += [hashlib.sha256((_HERE / name).read_bytes()).hexdigest() for name in _RECIPES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _make_runtime(
    toolchain: Toolchain,
    packages: Mapping[str, Mapping[str, Entry]],
    wheels: list[Wheel],
    imports: list[str],
    architecture: Architecture,
    folder: Path,
) -> Layer:
    installed = {wheel.name: read_files(wheel) for wheel in wheels}
    with tempfile.TemporaryDirectory(prefix="blindgate-site-") as site_folder:
        reached = _reached(toolchain, installed, imports, Path(site_folder))
    site = manifest.wheel_files({name: installed[name] for name in reached})
    files = manifest.interpreter_files(packages)
    files |= {f"{manifest.SITE}/{path}": entry for path, entry in site.items()}
    files |= manifest.shared_libraries(files, packages, architecture)
    tree = folder / "tree"
    write_tree(tree, files)
    for place in (manifest.STDLIB, manifest.SITE):
        toolchain.compile(tree / place, f"/{place}")
    origin = {
        path: name for name, found in packages.items() for path, entry in found.items() if entry
    }
    sources = {origin[path] for path in files if path in origin} | reached
    return _layer(toolchain, read_tree(tree), sources)


def _reached(
    toolchain: Toolchain,
    installed: Mapping[str, Mapping[str, Entry]],
    imports: list[str],
    folder: Path,
) -> set[str]:
    for name, files in installed.items():
        write_tree(folder / name, {p: e for p, e in files.items() if p.endswith((".py", ".so"))})
    names = "\n".join(imports).encode()
    return set(json.loads(toolchain.run("-c", _REACHED, str(folder), stdin=names)))


def application(
    toolchain: Toolchain, trial_tree: Path, measured: Mapping[str, Entry], workshop: Path
) -> Layer:
    """The third ramdisk.

    Args:
        toolchain: Compiles and compresses.
        trial_tree: The files of a second ramdisk for this machine, to try the imports with.
        measured: The configuration and what it names, by path in the image.
        workshop: An empty folder.

    Raises:
        ToolchainError: The worker cannot be imported, or refuses the configuration.
    """
    code = workshop / manifest.APPLICATION
    for entry in ENTRIES:
        for path in import_closure(entry).values():
            write_tree(code, {str(path.relative_to(ROOT)): file(path.read_bytes())})
    write_tree(workshop, measured)
    toolchain.compile(code, f"/{manifest.APPLICATION}")
    _try(toolchain, trial_tree, workshop)
    return _layer(toolchain, read_tree(workshop), ["blindgate"])


_TRIAL: Final = (
    "import sys, pathlib, enclave_app.__main__\n"
    "from enclave_app.config import load\n"
    "try: load(pathlib.Path(sys.argv[1]))\n"
    "except Exception as error: sys.exit(f'{type(error).__name__}: {error}')\n"
)


def _try(toolchain: Toolchain, runtime_tree: Path, workshop: Path) -> None:
    """Import the worker from the image's own files, and have it read its configuration."""
    path = (workshop / manifest.APPLICATION, runtime_tree / manifest.SITE)
    config = workshop / manifest.CONFIG / "enclave.toml"
    toolchain.run("-c", _TRIAL, str(config), path=path, root=runtime_tree)
