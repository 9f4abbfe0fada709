"""QEMU and vhost-device-vsock, from locked Debian packages in a folder of their own.

They run with their own libraries through their own dynamic loader, so the release of the machine
neither matters nor changes.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.atomic_files import making_folder
from blindgate.cache import cache_folder
from blindgate.errors import BlindgateError
from enclave_image.architecture import X86_64
from enclave_image.closure import ROOT
from enclave_image.debian import deb, fetch, lock
from enclave_image.file_tree import write_tree

LOCK: Final = ROOT / "locks" / "debian-emulator.toml"
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
_FIRMWARE: Final = ("usr/share/qemu", "usr/share/seabios")


class EmulatorUnusable(BlindgateError):
    """The emulator does not run on this machine, or not with this image."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """The unpacked programs.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    @classmethod
    def obtain(
        cls, *, cache: Path | None = None, said: Callable[[str], None] = lambda _: None
    ) -> Emulator:
        """Fetch and unpack them, or take them from the cache.

        Raises:
            EmulatorUnusable: The packages are not for this machine.
            FetchFailed: A package cannot be had.
        """
        if (platform.system(), platform.machine()) != ("Linux", X86_64.machine):
            raise EmulatorUnusable(
                f"the emulator's packages are for x86-64 Linux, and this machine is "
                f"{platform.system()} {platform.machine()}: run the stack without "
                "--enclave emulated, or on such a machine"
            )
        locked = lock.read(LOCK)
        digests = "\n".join(each.sha256 for each in locked.packages)
        name = hashlib.sha256(digests.encode()).hexdigest()[:32]
        folder = (cache or cache_folder()) / "emulators" / name
        if not folder.is_dir():
            paths = fetch.fetch(locked, cache=cache, said=said)
            with making_folder(folder) as draft:
                for each in locked.packages:
                    write_tree(draft, deb.read_files(paths[each.name]))
        return cls(folder)

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of a program in `usr/bin`."""
        libraries = self.folder / _LIBRARIES
        loader = libraries / "ld-linux-x86-64.so.2"
        path = self.folder / "usr/bin" / program
        return [str(loader), "--library-path", str(libraries), str(path), *arguments]

    def firmware(self) -> list[str]:
        """QEMU's arguments that name the folders of its firmware."""
        return [part for place in _FIRMWARE for part in ("-L", str(self.folder / place))]
