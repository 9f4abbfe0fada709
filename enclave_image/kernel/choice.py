"""Which kernel an image gets: our own by default, or one that was brought along and passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from enclave_image.debian.mirrors import Mirrors
from enclave_image.errors import ImageError
from enclave_image.kernel import command_line, formats, options
from enclave_image.kernel.source import build_kernel

#: The end of every signed module (Linux `kernel/module/signing.c`).
_SIGNATURE: Final = b"~Module signature appended~\n"
_MODULE: Final = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class ChosenKernel:
    """A kernel and what goes with it.

    Attributes:
        image: A bzImage or an arm64 Image.
        command_line: Measured with it.
        modules: Signed modules by file name, in the order of loading.
        version: What it calls itself.
    """

    image: bytes
    command_line: str
    modules: Mapping[str, bytes] = field(default_factory=dict)
    version: str = "unknown"


def own_kernel(
    architecture: str,
    *,
    line: str | None = None,
    mirrors: Mirrors | None = None,
    cache: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ChosenKernel:
    """Our own kernel, built from source or taken from the cache.

    Args:
        architecture: `x86_64` or `arm64`.
        line: The command line; default ours.
        mirrors: See `build_kernel`.
        cache: See `build_kernel`.
        on_progress: See `build_kernel`.

    Raises:
        ImageError: It cannot be built here, or the command line lacks a word.
    """
    chosen = line or command_line.command_line(architecture)
    command_line.check(chosen, modules=False)
    kernel = build_kernel(architecture, mirrors=mirrors, cache=cache, on_progress=on_progress)
    image = formats.for_nitro(kernel.image)
    return ChosenKernel(image, chosen, version=formats.version(image))


def given_kernel(
    image: bytes,
    *,
    architecture: str,
    config: str | None = None,
    line: str | None = None,
    modules: Mapping[str, bytes] | None = None,
) -> ChosenKernel:
    """A kernel that somebody else built, if it can work in an enclave.

    Args:
        image: The file.
        architecture: What the image is for.
        config: Its `.config`, for kernels that do not contain it.
        line: The command line; default ours.
        modules: Signed modules by file name, in the order of loading.

    Raises:
        ImageError: It has another form or architecture, lacks an option, comes with an unsigned
            module, or the command line lacks a word.
    """
    found = formats.architecture_of(image)
    if found != architecture:
        raise ImageError(
            f"the kernel is for {found}, the image for {architecture}: give --architecture {found}"
        )
    modules = dict(modules or {})
    for name, data in modules.items():
        _check_module(name, data)
    text = formats.embedded_config(image) or config
    if text is None:
        raise ImageError(
            "the kernel does not contain its configuration (CONFIG_IKCONFIG): give the .config "
            "that it was built with as --kernel-config FILE"
        )
    if not options.is_config(text):
        raise ImageError("the kernel's configuration is not a .config file")
    config_options = options.parse(text)
    if "nsm.ko" in modules and config_options.get("CONFIG_NSM") == "m":
        config_options["CONFIG_NSM"] = "y"
    if lacking := options.missing(config_options, architecture):
        raise ImageError(f"the kernel lacks {'; '.join(lacking)}")
    suffix = " module.sig_enforce=1" if modules else ""
    chosen = line or command_line.command_line(architecture) + suffix
    command_line.check(chosen, modules=bool(modules))
    return ChosenKernel(formats.for_nitro(image), chosen, modules, formats.version(image))


def _check_module(name: str, data: bytes) -> None:
    if not data.startswith(_MODULE):
        raise ImageError(f"{name} is not a kernel module (.ko), or it is compressed: unpack it")
    if not data.endswith(_SIGNATURE):
        raise ImageError(
            f"{name} is not signed, and the enclave's kernel loads signed modules only, so that "
            "nothing enters it after the measurement: sign it with the kernel's own key, or build "
            "the driver into the kernel (CONFIG_NSM=y)"
        )
