"""The enclave's own interpreter, run on the machine that builds.

What an interpreter writes (bytecode) and what zlib makes of it differ from version to version,
and so would PCR0 from machine to machine. So both come from the locked packages, started through
their own dynamic loader; the machine gives a kernel and a processor. An image for the other
architecture is compiled by the interpreter of this one: bytecode has no architecture.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.atomic_files import making_folder
from blindgate.cache import cache_folder
from enclave_image.architecture import Architecture
from enclave_image.closure import ROOT
from enclave_image.cpio import Entry
from enclave_image.debian import deb
from enclave_image.errors import ToolchainError
from enclave_image.file_tree import write_tree

_PYTHON: Final = "usr/bin/python3.13"
_SECONDS: Final = 1200
#: A fixed hash seed orders the sets that end up in bytecode.
_ENVIRONMENT: Final = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}

_COMPRESS: Final = "import sys,zlib; c=zlib.compressobj({level},8,31); r=sys.stdin.buffer.read\n"
_COMPRESS_LOOP: Final = (
    "w=sys.stdout.buffer.write\nwhile d:=r(1<<20): w(c.compress(d))\nw(c.flush())"
)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """An unpacked interpreter.

    Attributes:
        folder: Where the packages' files are.
        architecture: Of this machine.
    """

    folder: Path
    architecture: Architecture

    @classmethod
    def unpack(
        cls,
        packages: Mapping[str, Path],
        architecture: Architecture,
        *,
        cache: Path | None = None,
    ) -> Toolchain:
        """Unpack the interpreter's packages into the cache.

        Args:
            packages: Files of the packages, by name.
            architecture: Of the packages, which is that of this machine.
            cache: Default: `cache_folder()`.
        """
        names = sorted(packages)
        digests = (packages[name].name for name in names)
        digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        folder = (cache or cache_folder()) / "toolchains" / digest[:32]
        if not folder.is_dir():
            with making_folder(folder) as draft:
                for name in names:
                    write_tree(draft, deb.read_files(packages[name]))
        return cls(folder, architecture)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        path: tuple[Path, ...] = (ROOT,),
        root: Path | None = None,
    ) -> bytes:
        """Run the interpreter, without anything of this machine's own Python.

        Args:
            arguments: What follows `python3.13`.
            stdin: Its input.
            path: Where it finds modules besides its standard library.
            root: Take another tree's interpreter and libraries.

        Returns:
            What it wrote to stdout.

        Raises:
            ToolchainError: It ended with an error, or cannot run here.
        """
        tree = root or self.folder
        environment = {
            **_ENVIRONMENT,
            "PYTHONHOME": str(tree / "usr"),
            "PYTHONPATH": ":".join(map(str, path)),
        }
        libraries = tree / self.architecture.libraries
        command = [str(tree / self.architecture.loader_path), "--library-path", str(libraries)]
        command += [str(tree / _PYTHON), "-s", "-S", "-P", *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                env=environment,
                timeout=_SECONDS,
                check=False,
            )
        except OSError as error:
            raise ToolchainError(
                f"the enclave's interpreter does not run here ({error.strerror}): images are "
                "built on Linux"
            ) from None
        except subprocess.TimeoutExpired:
            message = f"the enclave's interpreter takes longer than {_SECONDS} s"
            raise ToolchainError(message) from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ToolchainError(f"the enclave's interpreter failed: {(lines or ['silently'])[-1]}")
        return done.stdout

    def compress(self, data: bytes, level: int = 9) -> bytes:
        """gzip, without a name and with time 0."""
        return self.run("-c", _COMPRESS.format(level=level) + _COMPRESS_LOOP, stdin=data)

    def compile(self, folder: Path, prefix: str) -> None:
        """Replace every module below a folder by its bytecode.

        Sourceless: an enclave has nobody to show source to, and reading it would cost boot time
        and memory. One process compiles all in order of the names, so that equal input gives
        equal bytes.

        Args:
            folder: What to compile.
            prefix: Where the folder will be in the image; tracebacks say so.
        """
        self.run("-m", "enclave_image.bytecode", str(folder), prefix)


def entries_of(packages: Mapping[str, Path]) -> dict[str, dict[str, Entry]]:
    """The files of packages, by the packages' names."""
    return {name: deb.read_files(path) for name, path in sorted(packages.items())}
