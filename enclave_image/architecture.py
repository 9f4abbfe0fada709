"""The two architectures of enclaves, and what differs between them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

from enclave_image.errors import ImageError


@dataclass(frozen=True, slots=True)
class Architecture:
    """How everything involved names one architecture.

    Attributes:
        name: Here and on the command line.
        debian: In Debian's packages.
        machine: What `uname -m` and Python's wheels say.
        triplet: Debian's multiarch folder, and the prefix of a cross compiler.
        loader: File name of the dynamic loader.
        loader_link: Where every binary looks for it.
    """

    name: str
    debian: str
    machine: str
    triplet: str
    loader: str
    loader_link: str

    @property
    def libraries(self) -> str:
        """The folder of shared libraries, below the root."""
        return f"usr/lib/{self.triplet}"

    @property
    def loader_path(self) -> str:
        """The dynamic loader, below the root."""
        return f"{self.libraries}/{self.loader}"

    @property
    def suffix(self) -> str:
        """What the names of lock files have before `.toml`."""
        return "" if self is X86_64 else f"-{self.name}"


X86_64: Final = Architecture(
    "x86_64",
    debian="amd64",
    machine="x86_64",
    triplet="x86_64-linux-gnu",
    loader="ld-linux-x86-64.so.2",
    loader_link="lib64/ld-linux-x86-64.so.2",
)
ARM64: Final = Architecture(
    "arm64",
    debian="arm64",
    machine="aarch64",
    triplet="aarch64-linux-gnu",
    loader="ld-linux-aarch64.so.1",
    loader_link="lib/ld-linux-aarch64.so.1",
)
_ALL: Final = (X86_64, ARM64)
NAMES: Final = tuple(each.name for each in _ALL)


def named(name: str) -> Architecture:
    """The architecture of this name.

    Raises:
        ImageError: There is none.
    """
    for each in _ALL:
        if name == each.name:
            return each
    raise ImageError(f"there is no architecture {name}; choose {' or '.join(NAMES)}")


def of_this_machine() -> Architecture:
    """The architecture of the machine that builds.

    Raises:
        ImageError: Images cannot be built on it.
    """
    for each in _ALL:
        if platform.machine() == each.machine and platform.system() == "Linux":
            return each
    raise ImageError("images are built on Linux on x86-64 or arm64")
