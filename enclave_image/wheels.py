"""Python's packages as locked inputs: wheels for the enclave's interpreter, by their hashes.

The lock covers every platform; what is taken from it here is decided by the enclave's
interpreter and never by the one that runs the build, so that everybody takes the same files.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from blindgate.atomic_files import making_folder
from blindgate.cache import cache_folder
from enclave_image.architecture import X86_64, Architecture
from enclave_image.cpio import Entry, file
from enclave_image.errors import FetchFailed, ImageError, LockError

#: Debian trixie's Python.
PYTHON: Final = "3.13"
_ABI: Final = "cp313"
#: Debian trixie has glibc 2.41; wheels ask for 2.34 at most today.
_PLATFORMS: Final = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_TARGET: Final[dict[str, str]] = {
    "implementation_name": "cpython",
    "implementation_version": f"{PYTHON}.0",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "linux",
    "extra": "",
}
_SECONDS: Final = 1800
#: `NAME.data/purelib/x` is installed as `x`; scripts, headers and data are not needed.
_DATA: Final = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/(.+)$")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel.

    Attributes:
        name: The distribution's canonical name.
        version: Its version.
        path: The file.
    """

    name: str
    version: str
    path: Path

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def requirements(lock: str, architecture: Architecture = X86_64) -> str:
    """The lines of a lock that apply to the enclave's interpreter, without their markers.

    Args:
        lock: The text of `locks/enclave.txt`.
        architecture: Of the enclave.

    Raises:
        LockError: A line is no requirement, or not pinned by hash.
    """
    kept = []
    target = {**_TARGET, "platform_machine": architecture.machine}
    for line in lock.replace("\\\n", " ").splitlines():
        text, *hashes = line.split("--hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            requirement = Requirement(text.strip())
        except InvalidRequirement as error:
            raise LockError(f"the lock of Python packages has a bad line: {error}") from None
        if not hashes:
            raise LockError(f"{requirement.name} is not pinned by hash")
        if requirement.marker and not requirement.marker.evaluate(target):
            continue
        pins = " ".join(f"--hash={each.strip()}" for each in sorted(hashes))
        kept.append(f"{requirement.name}{requirement.specifier} {pins}\n")
    return "".join(kept)


def download(
    lock: str,
    architecture: Architecture = X86_64,
    *,
    cache: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> list[Wheel]:
    """Have the wheels of a lock on disk.

    Args:
        lock: The text of `locks/enclave.txt`.
        architecture: Of the enclave.
        cache: Default: `cache_folder()`.
        said: Called before a download.

    Raises:
        LockError: The lock cannot be read.
        FetchFailed: pip cannot get them; the message holds its last line.
    """
    wanted = requirements(lock, architecture)
    platforms = [f"{each}_{architecture.machine}" for each in _PLATFORMS]
    digest = hashlib.sha256("\n".join([wanted, *platforms, _ABI]).encode()).hexdigest()
    folder = (cache or cache_folder()) / "wheels" / digest[:32]
    if not folder.is_dir():
        said("Python packages")
        with making_folder(folder) as draft:
            _pip(wanted, platforms, draft)
    return [_wheel(path) for path in sorted(folder.glob("*.whl"))]


def _pip(wanted: str, platforms: list[str], folder: Path) -> None:
    listed = folder / "requirements.txt"
    listed.write_text(wanted)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--python-version", PYTHON]
    command += ["--implementation", "cp", "--abi", _ABI, "--abi", "abi3", "--abi", "none"]
    command += [part for platform in platforms for part in ("--platform", platform)]
    command += ["--dest", str(folder), "--requirement", str(listed)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"pip takes longer than {_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else f"exit code {error.returncode}"
        raise FetchFailed(f"pip cannot get the enclave's Python packages: {reason}") from None


def _wheel(path: Path) -> Wheel:
    name, version, *_ = path.name.split("-")
    return Wheel(canonicalize_name(name), version, path)


def read_files(wheel: Wheel) -> dict[str, Entry]:
    """The files that installing a wheel would put into site-packages.

    Raises:
        ImageError: It is no zip archive, or a name in it leaves the folder.
    """
    found: dict[str, Entry] = {}
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                name = info.filename
                if match := _DATA.match(name):
                    name = match[1]
                elif ".data/" in name:
                    continue
                if name.startswith("/") or ".." in name.split("/"):
                    raise ImageError(f"{wheel.path.name} holds a file that leaves its folder")
                found[name] = file(archive.read(info))
    except zipfile.BadZipFile as error:
        raise ImageError(f"{wheel.path.name} is not a wheel: {error}") from None
    return found
