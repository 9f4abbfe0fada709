"""Where Debian's packages are fetched from: nobody's word counts, the lock's SHA-256 does.

In this order: a mirror that was named, the one that this machine's apt uses, and Debian's
snapshot archive, which keeps every version that ever was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from enclave_image.debian.lock import Package

SNAPSHOT_ARCHIVE: Final = "https://snapshot.debian.org/archive"
#: Names a mirror's `debian` folder, for machines whose apt knows none.
VARIABLE: Final = "BLINDGATE_DEBIAN_MIRROR"

_APT: Final = Path("/etc/apt")
_URI: Final = re.compile(r"https?://[^\s\]]+")
_ARCHIVES: Final = ("debian", "debian-security")


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Places to ask.

    Attributes:
        bases: URL of each archive's root by its name; may be empty.
        snapshot: Whether to ask the snapshot archive when the others have not got a package.
    """

    bases: dict[str, str] = field(default_factory=dict)
    snapshot: bool = True

    def urls(self, package: Package, snapshot: str) -> Iterator[str]:
        """Where a package can be, the best place first."""
        if base := self.bases.get(package.archive):
            yield f"{base}/{package.path}"
        if self.snapshot:
            yield f"{SNAPSHOT_ARCHIVE}/{package.archive}/{snapshot}/{package.path}"


def find_mirrors(named: str | None = None, apt: Path = _APT) -> Mirrors:
    """The mirrors to use.

    Args:
        named: URL of a mirror's `debian` folder; `$BLINDGATE_DEBIAN_MIRROR` otherwise. Its
            security archive is taken to be beside it.
        apt: The folder of apt's configuration.
    """
    named = named or os.environ.get(VARIABLE)
    if named:
        base = named.rstrip("/")
        return Mirrors({"debian": base, "debian-security": f"{base}-security"})
    return Mirrors(_of_apt(apt))


def _of_apt(apt: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for path in lists:
        if path.suffix not in (".list", ".sources") or not os.access(path, os.R_OK):
            continue
        for line in path.read_text(errors="replace").splitlines():
            if line.lstrip().startswith("#"):
                continue
            for uri in _URI.findall(line):
                base = uri.rstrip("/")
                archive = base.rpartition("/")[2]
                if archive in _ARCHIVES:
                    found.setdefault(archive, base)
    return found
