"""What of the locked packages goes into an image, and what stays outside, with the reasons.

Less in the image is less to attack, less to audit and a faster start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from enclave_image import elf
from enclave_image.architecture import X86_64, Architecture
from enclave_image.cpio import Entry, link
from enclave_image.errors import ImageError

#: Where things are inside the enclave.
STDLIB: Final = "usr/lib/python3.13"
SITE: Final = "opt/blindgate/site"
APPLICATION: Final = "opt/blindgate/app"
CONFIG: Final = "etc/blindgate"
INTERPRETER: Final = "usr/bin/python3.13"

#: Extension modules import these in C, where no reader of source sees it.
IMPORTED_IN_C: Final = ("_cffi_backend",)

_PYTHON_LEFT_OUT: Final = (
    # Tests and demonstrations.
    f"{STDLIB}/test/*",
    f"{STDLIB}/__phello__/*",
    f"{STDLIB}/lib-dynload/_test*",
    f"{STDLIB}/lib-dynload/_ctypes_test*",
    f"{STDLIB}/lib-dynload/_xxtestfuzz*",
    f"{STDLIB}/lib-dynload/xx*",
    # There is no terminal, screen or person inside.
    f"{STDLIB}/_pyrepl/*",
    f"{STDLIB}/curses/*",
    f"{STDLIB}/idlelib/*",
    f"{STDLIB}/pydoc_data/*",
    f"{STDLIB}/turtle.py",
    f"{STDLIB}/lib-dynload/_curses*",
    f"{STDLIB}/lib-dynload/readline*",
    # No databases, and nothing is installed there.
    f"{STDLIB}/dbm/*",
    f"{STDLIB}/sqlite3/*",
    f"{STDLIB}/ensurepip/*",
    f"{STDLIB}/venv/*",
    f"{STDLIB}/lib-dynload/_dbm*",
    f"{STDLIB}/lib-dynload/_sqlite3*",
    f"{STDLIB}/EXTERNALLY-MANAGED",
    # A link to the one that Python reads.
    f"{STDLIB}/_sysconfigdata__x86_64-linux-gnu.py",
    f"{STDLIB}/_sysconfigdata__aarch64-linux-gnu.py",
    # Debian's hooks of an installed system; the worker runs without `site`.
    f"{STDLIB}/sitecustomize.py",
)

_WHEELS_LEFT_OUT: Final = (
    # Tests, and what only compilers, type checkers and installers read.
    "*/tests/*",
    "*/test/*",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.h",
    "*.c",
    "*.a",
    "*.typed",
    "*/include/*",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*/__pycache__/*",
    # Descriptions of every AWS service: the worker writes its one KMS request by itself.
    "botocore/data/*",
    # The CA bundle is the configuration's, and measured with it; no other must be found.
    "botocore/cacert.pem",
    "certifi/cacert.pem",
    # Converting and tuning models happens outside.
    "onnxruntime/tools/*",
    "onnxruntime/transformers/*",
    "onnxruntime/quantization/*",
    "onnxruntime/datasets/*",
    "onnxruntime/backend/*",
    "onnxruntime/capi/training/*",
    "numpy/f2py/*",
    "numpy/distutils/*",
    "numpy/_pyinstaller/*",
    "numpy/random/lib/*",
    # Decoders of formats that the worker refuses, and what draws text or opens windows.
    "PIL/_avif*",
    "PIL/_imagingft*",
    "PIL/_imagingtk*",
    "PIL/_imagingcms*",
)


def interpreter_files(packages: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
    """The interpreter and its standard library, without shared libraries.

    Args:
        packages: The files of Debian packages, by name.
    """
    return {
        path: entry
        for files in packages.values()
        for path, entry in files.items()
        if (path == INTERPRETER or path.startswith(f"{STDLIB}/"))
        and not _matches(path, _PYTHON_LEFT_OUT)
    }


def wheel_files(wheels: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
    """What of the wheels' files is wanted, by path in site-packages."""
    found = {
        path: entry
        for files in wheels.values()
        for path, entry in files.items()
        if not _matches(path, _WHEELS_LEFT_OUT)
    }
    return _without_unused_libraries(found)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _without_unused_libraries(files: Mapping[str, Entry]) -> dict[str, Entry]:
    """Wheels bring libraries in folders `NAME.libs`; keep those that something kept needs."""
    libraries = {path.rpartition("/")[2]: path for path in files if _is_bundled(path)}
    wanted = needed_libraries(
        (entry.data for path, entry in files.items() if not _is_bundled(path)),
        {name: files[path].data for name, path in libraries.items()},
    )
    return {
        path: entry
        for path, entry in files.items()
        if not _is_bundled(path) or path.rpartition("/")[2] in wanted
    }


def _is_bundled(path: str) -> bool:
    return path.split("/", maxsplit=1)[0].endswith(".libs")


def shared_libraries(
    files: Mapping[str, Entry],
    packages: Mapping[str, Mapping[str, Entry]],
    architecture: Architecture = X86_64,
) -> dict[str, Entry]:
    """The shared libraries of Debian that files need, directly or by one another.

    Args:
        files: All other files of the image.
        packages: The files of Debian packages, by name.
        architecture: Of the packages.

    Returns:
        The libraries under their sonames, the dynamic loader, and the link that names it.

    Raises:
        ImageError: One is needed that no package has.
    """
    everything = {path: entry for found in packages.values() for path, entry in found.items()}
    available = {
        path.rpartition("/")[2]: _resolved(path, everything)
        for path in everything
        if path.startswith(f"{architecture.libraries}/") and ".so" in path
    }
    own = {path.rpartition("/")[2] for path in files}
    libraries = {name: entry.data for name, entry in available.items()}
    wanted = needed_libraries((entry.data for entry in files.values()), libraries)
    missing = wanted - set(available) - own
    if missing:
        raise ImageError(f"no locked package has {', '.join(sorted(missing))}")
    folder, loader = architecture.libraries, architecture.loader_path
    found = {f"{folder}/{name}": available[name] for name in wanted & set(available)}
    found[loader] = everything[loader]
    found[architecture.loader_link] = link(f"../{loader}")
    return found


def _resolved(path: str, files: Mapping[str, Entry]) -> Entry:
    entry = files[path]
    target = entry.data.decode(errors="replace") if not elf.is_elf(entry.data) else ""
    beside = f"{path.rpartition('/')[0]}/{target}"
    return files.get(beside, entry)


def needed_libraries(binaries: Iterable[bytes], available: Mapping[str, bytes]) -> set[str]:
    """The names of all libraries that ELF files need, directly or by one another.

    Args:
        binaries: Any files; those that are not ELF need nothing.
        available: Libraries by name, which are followed.
    """
    found: set[str] = set()
    waiting = [name for data in binaries if elf.is_elf(data) for name in elf.needed(data)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        data = available.get(name, b"")
        if elf.is_elf(data):
            waiting += elf.needed(data)
    return found
