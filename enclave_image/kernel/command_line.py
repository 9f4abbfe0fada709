"""The kernel's command line, which is measured, and what of it must not be left out."""

from __future__ import annotations

import re
from typing import Final

from enclave_image.architecture import X86_64
from enclave_image.errors import ImageError

#: The console serves debug mode and emulators; it is slow, so only warnings go there. The files may
#: take more than half of the memory, which tmpfs would not allow. A fault ends the enclave one
#: second later, freed memory is wiped, and nothing reads or changes the kernel's memory.
_COMMON: Final = (
    "console=ttyS0 loglevel=5 panic=1 oops=panic rootfstype=ramfs "
    "init_on_free=1 lockdown=confidentiality"
)
#: AWS's own words (nitro-cli `blobs/x86_64/cmdline`): reset through the keyboard controller, no
#: search for devices that an enclave does not have, random numbers of the processor are used.
_X86: Final = (
    "reboot=k pci=off nomodules i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd "
    "random.trust_cpu=on clocksource=kvm-clock tsc=reliable"
)
_ARM64: Final = "pci=off nomodules random.trust_cpu=on"

_SECURITY: Final = {
    "init_on_free=1": "freed memory must be wiped",
    "lockdown=confidentiality": "nothing may read the kernel's memory",
    "oops=panic": "a fault must end the enclave",
}
_PANIC: Final = re.compile(r"panic=[1-9][0-9]*")
_SIGNED: Final = "module.sig_enforce=1"


def command_line(architecture: str) -> str:
    """The command line of our own images."""
    return f"{_COMMON} {_X86 if architecture == X86_64.name else _ARM64}"


def check(line: str, *, modules: bool) -> None:
    """Refuse a command line without the words that protect the enclave.

    Args:
        line: The command line.
        modules: Whether the image loads kernel modules.

    Raises:
        ImageError: Words are missing; the message names them.
    """
    words = set(line.split())
    lacking = [f"{word} ({why})" for word, why in _SECURITY.items() if word not in words]
    if not any(_PANIC.fullmatch(word) for word in words):
        lacking.append("panic=1 (a panic must end the enclave)")
    if modules and _SIGNED not in words:
        lacking.append(f"{_SIGNED} (only signed modules may be loaded)")
    if lacking:
        raise ImageError(f"the kernel's command line lacks {', '.join(lacking)}")
