"""A lock of Debian packages: what was asked for, and what that is to the byte.

A TOML file in `locks/`. The table `[ask]` is written by a person; the rest by
`blindgate image lock`, which resolves it anew.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave_image.errors import LockError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ARCHIVE: Final = re.compile(r"debian(-[a-z]+)*")
_PATH: Final = re.compile(r"pool/[A-Za-z0-9+._~/%:-]+\.deb")
_SNAPSHOT: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")


@dataclass(frozen=True, slots=True)
class Package:
    """One binary package.

    Attributes:
        name: Its name.
        version: Its whole version.
        archive: `debian` or `debian-security`.
        path: Where it is below the archive's root.
        size: Bytes.
        sha256: Lower-case hexadecimal.
    """

    name: str
    version: str
    archive: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a lock is resolved from.

    Attributes:
        suites: `ARCHIVE SUITE COMPONENT`, e.g. `debian trixie main`.
        packages: What apt is asked to install into an empty system.
        keep: Shell patterns of those names to keep of what apt would install.
        leave_out: Shell patterns of names to drop after that.
        architecture: As Debian names it.
    """

    suites: tuple[str, ...]
    packages: tuple[str, ...]
    keep: tuple[str, ...] = ("*",)
    leave_out: tuple[str, ...] = ()
    architecture: str = "amd64"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file.

    Attributes:
        asked: The part that a person writes.
        snapshot: When it was resolved; `snapshot.debian.org` has the archives as of then.
        packages: Sorted by name.
    """

    asked: Asked
    snapshot: str
    packages: tuple[Package, ...]

    def package(self, name: str) -> Package:
        """The package of this name.

        Raises:
            LockError: There is none.
        """
        for each in self.packages:
            if each.name == name:
                return each
        raise LockError(f"the lock holds no package {name}")


def read(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        LockError: It is not there, or breaks the format.
    """
    try:
        values = tomllib.loads(path.read_text())
        asked = _asked(values["ask"])
        packages = tuple(_package(each) for each in values.get("package", []))
        snapshot = str(values.get("snapshot", ""))
    except OSError as error:
        raise LockError(
            f"cannot read {path}: {error.strerror}; images are built from a checkout of the source"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise LockError(f"{path} is not a lock of Debian packages: {error!r}") from None
    if packages and not _SNAPSHOT.fullmatch(snapshot):
        raise LockError(f"{path} does not say when it was resolved")
    return Lock(asked, snapshot, packages)


def _asked(values: dict[str, Any]) -> Asked:
    architecture = str(values.pop("architecture", "amd64"))
    lists = {name: tuple(map(str, value)) for name, value in values.items()}
    return Asked(**lists, architecture=architecture)


def _package(values: dict[str, Any]) -> Package:
    package = Package(**values)
    if not _SHA256.fullmatch(package.sha256):
        raise ValueError(f"{package.name} has no SHA-256")
    if not _ARCHIVE.fullmatch(package.archive):
        raise ValueError(f"{package.name} is from no archive of Debian")
    if not _PATH.fullmatch(package.path) or ".." in package.path:
        raise ValueError(f"{package.name} is not in an archive's pool")
    return package


def to_text(lock: Lock) -> str:
    """The file of a lock; reading it gives an equal one."""
    lines = [
        "# Debian packages by SHA-256. Change [ask] by hand; then renew the rest with",
        "#   blindgate image lock THIS_FILE",
        "[ask]",
        f'architecture = "{lock.asked.architecture}"',
        *_list("suites", lock.asked.suites),
        *_list("packages", lock.asked.packages),
        *_list("keep", lock.asked.keep),
        *_list("leave_out", lock.asked.leave_out),
    ]
    # A key after a table would belong to the table, so the time comes before it.
    lines.insert(2, f'snapshot = "{lock.snapshot}"\n')
    for each in lock.packages:
        lines += [
            "",
            "[[package]]",
            f'name = "{each.name}"',
            f'version = "{each.version}"',
            f'archive = "{each.archive}"',
            f'path = "{each.path}"',
            f"size = {each.size}",
            f'sha256 = "{each.sha256}"',
        ]
    return "\n".join(lines) + "\n"


def _list(name: str, values: tuple[str, ...]) -> list[str]:
    return [f"{name} = [", *(f'    "{value}",' for value in values), "]"]
