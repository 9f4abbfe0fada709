"""Which kernel an image boots, and what it calls itself."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from blindgate.image.cpio import Entry
from blindgate.image.errors import ImageError

#: The console serves debug mode and emulators; it is slow, so the kernel says no more than warnings
#: there. The files may take more than half of the memory, which tmpfs would not let them. Time is
#: the hypervisor's clock where there is one, else the processor's counter. A fault ends the enclave
#: at once, memory that is given back is wiped, and only modules that Debian signed are loaded.
COMMAND_LINE: Final = (
    "console=ttyS0 loglevel=5 reboot=k panic=1 oops=panic rootfstype=ramfs clocksource=kvm-clock "
    "tsc=reliable init_on_free=1 module.sig_enforce=1 lockdown=confidentiality"
)
_MAGIC_AT: Final = 0x202
_MAGIC: Final = b"HdrS"
_VERSION_AT: Final = 0x20E
_VERSION_BASE: Final = 0x200
_LONGEST: Final = 128


def kernel_of(files: Mapping[str, Entry]) -> bytes:
    """The kernel in a Debian package.

    Raises:
        ImageError: There is none, or more than one.
    """
    found = [path for path in files if path.startswith("boot/vmlinuz-")]
    if len(found) != 1:
        raise ImageError("the kernel's package holds no kernel")
    return files[found[0]].data


def version(kernel: bytes) -> str:
    """What an x86 kernel calls itself, e.g. `6.12.117+deb13-cloud-amd64`; `unknown` otherwise.

    Source: Linux `Documentation/arch/x86/boot.rst`, field `kernel_version`.
    """
    if kernel[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC or len(kernel) < _VERSION_AT + 2:
        return "unknown"
    (offset,) = struct.unpack_from("<H", kernel, _VERSION_AT)
    start = offset + _VERSION_BASE
    text = kernel[start : start + _LONGEST].split(b"\0")[0]
    words = text.decode("ascii", errors="replace").split()
    return words[0] if words else "unknown"
