"""Our own kernel, from locked Debian source with a locked compiler: the same bytes everywhere.

Everything that could differ from machine to machine is fixed: the tools come from a lock, the
build runs at one path in a root directory of its own, and the kernel's time stamp, user and host
are constants (Linux `Documentation/kbuild/reproducible-builds.rst`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.atomic_files import making_folder, write_file
from blindgate.cache import cache_folder
from enclave_image.architecture import of_this_machine
from enclave_image.closure import ROOT
from enclave_image.debian import deb, fetch, lock
from enclave_image.debian.mirrors import Mirrors
from enclave_image.errors import ImageError, ToolchainError
from enclave_image.file_tree import write_tree
from enclave_image.kernel import options, sandbox

_HERE: Final = Path(__file__).resolve().parent
_PATCH: Final = "vsock-replies.patch"
#: What decides the bytes of a kernel besides the lock, the configuration and the scripts below.
_RECIPES: Final = ("sandbox.py", _PATCH)
#: Constants instead of the machine's name, user and time.
_FIXED: Final = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "blindgate",
    "KBUILD_BUILD_HOST": "enclave",
    "KBUILD_BUILD_VERSION": "1",
    "SOURCE_DATE_EPOCH": "0",
}
#: Seen: packages 0.6 GB, source 1.6 GB, objects 0.3 GB.
_NEEDED_GB: Final = 3
_STEP: Final = re.compile(r"  (CC|AS|AR|LD|HOSTCC|OBJCOPY)\s")
_REPORT_SECONDS: Final = 10.0

#: Unpack, change, configure. `$1` is the architecture as the kernel names it.
_CONFIGURE: Final = """\
set -eu
mkdir /build/linux
cd /build/linux
tar --extract --xz --no-same-owner --strip-components=1 --file /usr/src/linux-source-*.tar.xz
patch --silent --strip=1 --input=/build/change.patch
make $MAKE_WORDS KCONFIG_ALLCONFIG=/build/fragment allnoconfig
"""
_COMPILE: Final = """\
set -eu
cd /build/linux
make $MAKE_WORDS --jobs=$JOBS $IMAGE
"""


@dataclass(frozen=True, slots=True)
class _Target:
    """How the kernel's own build names an architecture.

    Attributes:
        arch: For `ARCH=`.
        image: The make target.
        path: Where the finished image is.
        cross: For `CROSS_COMPILE=`.
    """

    arch: str
    image: str
    path: str
    cross: str


_TARGETS: Final = {
    "x86_64": _Target("x86", "bzImage", "arch/x86/boot/bzImage", "x86_64-linux-gnu-"),
    "arm64": _Target("arm64", "Image", "arch/arm64/boot/Image", "aarch64-linux-gnu-"),
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A finished kernel.

    Attributes:
        image: What is booted: a bzImage (x86-64) or an `Image` (arm64).
        config: Its whole `.config`.
    """

    image: bytes
    config: str


def kernel_lock() -> Path:
    """The lock of the kernel's source and of the compilers that run on this machine.

    Raises:
        ImageError: Images cannot be built on this machine.
    """
    return ROOT / "locks" / f"debian-kernel{of_this_machine().suffix}.toml"


def build_kernel(
    architecture: str,
    *,
    mirrors: Mirrors | None = None,
    cache: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Kernel:
    """Build the kernel, or take it from the cache if the same inputs were built before.

    Args:
        architecture: `x86_64` or `arm64`.
        mirrors: Where Debian's packages are fetched from.
        cache: Default: `cache_folder()`.
        on_progress: Called with a line for each step, and every ten seconds while it compiles.

    Raises:
        ImageError: An input cannot be had, the machine allows no chroot, the disk is full, or an
            option of the fragment does not take effect.
    """
    locked = lock.read(kernel_lock())
    base = cache or cache_folder()
    folder = base / "kernels" / _digest(architecture, locked)
    if not folder.is_dir():
        paths = fetch.fetch(locked, mirrors=mirrors, cache=cache, said=on_progress)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".kernel-", dir=folder.parent) as place:
                kernel = _build(architecture, locked, paths, Path(place), on_progress)
            with making_folder(folder) as draft:
                write_file(draft / "image", kernel.image)
                write_file(draft / "config", kernel.config.encode())
                write_file(draft / "sha256", json.dumps(_sums(kernel)).encode())
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _full(folder.parent) from None
            raise ImageError(f"cannot build a kernel in {folder.parent}: {error}") from None
    kernel = Kernel((folder / "image").read_bytes(), (folder / "config").read_text())
    if json.loads((folder / "sha256").read_text()) != _sums(kernel):
        raise ImageError(f"{folder} in the cache is damaged; remove it and build again")
    return kernel


def _sums(kernel: Kernel) -> dict[str, str]:
    return {
        "image": hashlib.sha256(kernel.image).hexdigest(),
        "config": hashlib.sha256(kernel.config.encode()).hexdigest(),
    }


def _digest(architecture: str, locked: lock.Lock) -> str:
    parts = [architecture, options.allconfig(options.fragment(architecture))]
    parts += [_CONFIGURE, _COMPILE, repr(_TARGETS[architecture]), json.dumps(_FIXED)]
    parts += [each.sha256 for each in locked.packages]
    parts += [hashlib.sha256((_HERE / name).read_bytes()).hexdigest() for name in _RECIPES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _full(folder: Path) -> ImageError:
    return ImageError(
        f"no space left in {folder}: building a kernel takes {_NEEDED_GB} GB for some minutes; "
        "free some, or set BLINDGATE_CACHE to a folder on another disk"
    )


def _build(
    architecture: str,
    locked: lock.Lock,
    paths: dict[str, Path],
    root: Path,
    on_progress: Callable[[str], None],
) -> Kernel:
    target = _TARGETS[architecture]
    wanted = options.fragment(architecture)
    on_progress("kernel: unpacking the compiler and the source")
    for each in locked.packages:
        write_tree(root, deb.read_files(paths[each.name]))
    sandbox.prepare(root)
    work = root / "build"
    work.mkdir()
    (work / "fragment").write_text(options.allconfig(wanted))
    (work / "change.patch").write_bytes((_HERE / _PATCH).read_bytes())
    words = {
        "MAKE_WORDS": f"ARCH={target.arch} CROSS_COMPILE={target.cross}",
        "IMAGE": target.image,
        "JOBS": str(os.cpu_count() or 1),
        **_FIXED,
    }
    environment = ["/usr/bin/env", *(f"{name}={value}" for name, value in words.items())]
    try:
        sandbox.run(root, [*environment, "/usr/bin/sh", "-c", _CONFIGURE])
        config = (work / "linux/.config").read_text()
        if wrong := options.differences(wanted, options.parse(config)):
            raise ImageError(f"the kernel's configuration has no effect: {'; '.join(wrong)}")
        report = _Report(on_progress)
        sandbox.run(root, [*environment, "/usr/bin/sh", "-c", _COMPILE], report.line)
    except sandbox.CommandFailed as error:
        if any("No space left on device" in line for line in error.tail):
            raise _full(root.parent) from None
        told = [line for line in error.tail if "rror" in line] or error.tail
        raise ToolchainError(f"the kernel does not build: {(told or ['no output'])[0]}") from None
    image = (work / "linux" / target.path).read_bytes()
    return Kernel(image, config)


class _Report:
    """Counts the steps of a kernel's build and reports every ten seconds.

    Args:
        on_progress: Called with the report.
    """

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self._on_progress = on_progress
        self._began = self._last = time.monotonic()
        self._steps = 0

    def line(self, line: str) -> None:
        """One line of make's output."""
        if not _STEP.match(line):
            return
        self._steps += 1
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self._on_progress(f"kernel: {self._steps} steps in {now - self._began:.0f} s")
