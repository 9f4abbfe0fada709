"""What must be true of the machine before keys are made on it.

The parent gives the enclave its memory and can influence its devices, but not the Nitro card:
so randomness must come from the NSM's generator, and time from the hypervisor's clock. Both are
the checks that Trail of Bits' notes on the attack surface of Nitro Enclaves (2024) ask for.
"""

from __future__ import annotations

import errno
import fcntl
import platform
import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from enclave_app.nsm.errors import HardwareCheckFailed

if TYPE_CHECKING:
    from collections.abc import Collection

    from enclave_app.nsm.client import Nsm

#: The generator that the kernel's `nsm` driver registers (drivers/misc/nsm.c).
HWRNG: Final = "nsm-hwrng"
#: By machine: KVM's paravirtual clock, or on Arm, where there is none, the generic timer.
CLOCK_SOURCES: Final = MappingProxyType({"x86_64": "kvm-clock", "aarch64": "arch_sys_counter"})

#: Since this version one generator serves getrandom(2) and /dev/urandom, and both wait until it is
#: seeded; what is written to it counts at its next reseeding (Linux `drivers/char/random.c`).
OLDEST_KERNEL: Final = (5, 18)
#: What is mixed into the kernel's pool: as much as one answer of the NSM holds.
SEED_BYTES: Final = 256
#: The NSM may answer with less; more calls than this mean that it gives next to nothing.
_MOST_CALLS: Final = 16
#: _IO('R', 7) of linux/random.h: reseed the generator from the pool now.
_RNDRESEEDCRNG: Final = 0x5207

_OSRELEASE: Final = "proc/sys/kernel/osrelease"
_RNG_CURRENT: Final = "sys/class/misc/hw_random/rng_current"
_CLOCK_CURRENT: Final = "sys/devices/system/clocksource/clocksource0/current_clocksource"


def check_hardware(root: Path | str = "/", *, clock_sources: Collection[str] | None = None) -> None:
    """Check the kernel's version, its randomness and its clock.

    Args:
        root: Where `sys` and `proc` are mounted; another folder in tests.
        clock_sources: Those accepted; default: the hypervisor's for this machine. An emulated
            enclave has another one, and says so in its measured configuration.

    Raises:
        HardwareCheckFailed: Says which check failed and what was found.
    """
    if clock_sources is None:
        machine = platform.machine()
        clock_sources = {CLOCK_SOURCES[machine]} if machine in CLOCK_SOURCES else set()
    _check_kernel(Path(root) / _OSRELEASE)
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


def seed_kernel(nsm: Nsm, pool: Path | str = "/dev/urandom") -> None:
    """Mix randomness of the NSM into the kernel's generator, before the first key is made.

    The kernel's `nsm` driver feeds the pool too, at a time that the kernel chooses. This makes sure
    of it: bytes that are mixed in can add to what is there and take nothing away.

    Args:
        nsm: The security module.
        pool: The kernel's generator.

    Raises:
        HardwareCheckFailed: The NSM gives too little, or the pool does not take it.
        NsmError: The NSM did not answer.
    """
    seed = b""
    for _ in range(_MOST_CALLS):
        seed += nsm.get_random()
        if len(seed) >= SEED_BYTES:
            break
    else:
        raise HardwareCheckFailed(
            "rng", f"the security module gave {len(seed)} bytes of randomness"
        )
    try:
        with Path(pool).open("wb", buffering=0) as generator:
            if generator.write(seed) != len(seed):
                raise HardwareCheckFailed("rng", f"{pool} did not take the whole seed")
            _reseed(generator.fileno())
    except OSError as error:
        raise HardwareCheckFailed("rng", f"{pool} cannot be seeded: {error.strerror}") from None


def _reseed(generator: int) -> None:
    try:
        fcntl.ioctl(generator, _RNDRESEEDCRNG)
    except OSError as error:
        # Only root may ask for it; for others the seed counts from the next reseeding on.
        if error.errno not in (errno.EPERM, errno.ENOTTY):
            raise


def _check_kernel(path: Path) -> None:
    wanted = ".".join(map(str, OLDEST_KERNEL))
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise HardwareCheckFailed(
            "kernel", f"the kernel must be {wanted} or newer; {path}: {error.strerror}"
        ) from None
    version = re.match(r"(\d{1,4})\.(\d{1,4})", found)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        raise HardwareCheckFailed(
            "kernel", f"the kernel must be {wanted} or newer; this is {found[:64] or 'unnamed'}"
        )
