"""Kernel options: our fragments, and what any kernel of an enclave must have.

A fragment is a text of lines `CONFIG_NAME=value  # reason`; `=n` means that an option must stay
off. A kernel's own `.config` has the same form without reasons, and says
`# CONFIG_NAME is not set` where an option is off (Linux `Documentation/kbuild/kconfig.rst`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from enclave_image.errors import ImageError

_HERE: Final = Path(__file__).resolve().parent
_LINE: Final = re.compile(r'(CONFIG_[A-Z0-9_]+)=("[^"]*"|\S+)\s+#\s*\S.*')
_SET: Final = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(.*)")
_UNSET: Final = re.compile(r"# (CONFIG_[A-Za-z0-9_]+) is not set")
OFF: Final = "n"

#: Without one of these an image does not work in an enclave, with the reason for the message.
_REQUIRED: Final = {
    "CONFIG_VIRTIO_MMIO": "vsock and the security module are virtio-mmio devices",
    "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES": "Nitro announces devices on the command line",
    "CONFIG_VIRTIO_VSOCKETS": "vsock is the only way to the parent instance",
    "CONFIG_NSM": "the worker attests through /dev/nsm",
    "CONFIG_BLK_DEV_INITRD": "all files come in ramdisks",
    "CONFIG_RD_GZIP": "the ramdisks are compressed with gzip",
    "CONFIG_DEVTMPFS": "init mounts it on /dev",
    "CONFIG_TMPFS": "init mounts it on /tmp",
    "CONFIG_UNIX": "the processes of the worker speak through it",
    "CONFIG_SECURITY_LOCKDOWN_LSM": "lockdown= on the command line needs it",
    "CONFIG_INIT_ON_FREE_DEFAULT_ON": "memory that is given back is wiped",
    "CONFIG_STRICT_KERNEL_RWX": "code of the kernel must not be writable",
}
_REQUIRED_X86: Final = {
    "CONFIG_X86_MPPARSE": "without ACPI the MP table is the only list of vCPUs",
    "CONFIG_KVM_GUEST": "the worker requires the clock source kvm-clock",
}


def fragment(architecture: str) -> dict[str, str]:
    """The options that our own kernel is built with.

    Args:
        architecture: `x86_64` or `arm64`.

    Returns:
        Values by name; `n` for what must stay off.

    Raises:
        ImageError: A line of a fragment has another form, or names an option twice.
    """
    found: dict[str, str] = {}
    for name in ("common", architecture):
        for line in (_HERE / f"{name}.config").read_text().splitlines():
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None or match[1] in found:
                raise ImageError(f"{name}.config: not one option with its reason: {line}")
            found[match[1]] = match[2]
    return found


def allconfig(options: Mapping[str, str]) -> str:
    """The text for `KCONFIG_ALLCONFIG`, which takes no reasons at the end of a line."""
    return "".join(
        f"# {name} is not set\n" if value == OFF else f"{name}={value}\n"
        for name, value in options.items()
    )


def parse(text: str) -> dict[str, str]:
    """The options that a kernel's `.config` sets; what it does not set is missing."""
    found = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line):
            found[match[1]] = match[2]
    return found


def is_config(text: str) -> bool:
    """Whether a text looks like a kernel's `.config`."""
    lines = text.splitlines()
    return any(_SET.fullmatch(each) or _UNSET.fullmatch(each) for each in lines)


def differences(wanted: Mapping[str, str], config: Mapping[str, str]) -> list[str]:
    """The options of a fragment that a finished `.config` does not have, one line each.

    Kconfig drops what depends on an option that is off, without a word.
    """
    return [
        f"{name} is {config.get(name, OFF)}, not {value}"
        for name, value in wanted.items()
        if config.get(name, OFF) != value
    ]


def missing(config: Mapping[str, str], architecture: str) -> list[str]:
    """What a kernel lacks to work in an enclave: `NAME: reason` lines.

    Args:
        config: Its options.
        architecture: `x86_64` or `arm64`.
    """
    required = _REQUIRED | (_REQUIRED_X86 if architecture == "x86_64" else {})
    return [f"{name} ({why})" for name, why in required.items() if config.get(name) != "y"]
