"""What must be true of the machine before keys are made on it.

The parent gives the enclave its memory and can influence its devices, but not the Nitro card:
so randomness must come from the NSM's generator, and time from the hypervisor's clock. Both are
the checks that Trail of Bits' notes on the attack surface of Nitro Enclaves (2024) ask for.
"""

from __future__ import annotations

import platform
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from enclave_app.nsm.errors import HardwareCheckFailed

if TYPE_CHECKING:
    from collections.abc import Collection

#: The generator that the kernel's `nsm` driver registers (drivers/misc/nsm.c).
HWRNG: Final = "nsm-hwrng"
#: By machine: KVM's paravirtual clock, or on Arm, where there is none, the generic timer.
CLOCK_SOURCES: Final = MappingProxyType({"x86_64": "kvm-clock", "aarch64": "arch_sys_counter"})

_RNG_CURRENT: Final = "sys/class/misc/hw_random/rng_current"
_CLOCK_CURRENT: Final = "sys/devices/system/clocksource/clocksource0/current_clocksource"


def check_hardware(root: Path | str = "/", *, clock_sources: Collection[str] | None = None) -> None:
    """Check the kernel's randomness and its clock.

    Args:
        root: Where `sys` is mounted; another folder in tests.
        clock_sources: Those accepted; default: the hypervisor's for this machine. An emulated
            enclave has another one, and says so in its measured configuration.

    Raises:
        HardwareCheckFailed: Says which check failed and what was found.
    """
    if clock_sources is None:
        machine = platform.machine()
        clock_sources = {CLOCK_SOURCES[machine]} if machine in CLOCK_SOURCES else set()
    _expect(Path(root) / _RNG_CURRENT, "rng", "the hardware random number generator", {HWRNG})
    _expect(Path(root) / _CLOCK_CURRENT, "clock", "the clock source", clock_sources)


def _expect(path: Path, check: str, what: str, accepted: Collection[str]) -> None:
    wanted = " or ".join(sorted(accepted)) or "known for this machine"
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise HardwareCheckFailed(
            check, f"{what} must be {wanted}; {path} cannot be read: {error.strerror}"
        ) from None
    if found not in accepted:
        raise HardwareCheckFailed(
            check, f"{what} must be {wanted}; the kernel uses {found[:64] or 'none'}"
        )
