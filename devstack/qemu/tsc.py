"""How fast this processor counts, which an emulated one has no way to find out when it is busy.

QEMU's emulated processor shows the machine's own time-stamp counter. Its kernel compares that
with an emulated timer chip for some milliseconds, and gives up if other programs interrupt it;
so it is told the result.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable
from typing import Final

#: rdtsc; shl rdx, 32; or rax, rdx; ret
_RDTSC: Final = bytes.fromhex("0f31 48c1e220 4809d0 c3")
_SECONDS: Final = 0.2
#: Readings at each end; the one that took least is the least disturbed.
_TRIES: Final = 16


def tsc_khz() -> int | None:
    """The frequency of this processor's time-stamp counter in kHz; None if it has none."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    executable = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    with mmap.mmap(-1, mmap.PAGESIZE, prot=executable) as page:
        page.write(_RDTSC)
        view = ctypes.c_char.from_buffer(page)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(view))
        try:
            begin, count = _reading(read)
            time.sleep(_SECONDS)
            end, later = _reading(read)
        finally:
            del read, view
    return round((later - count) * 1e6 / (end - begin))


def _reading(read: Callable[[], int]) -> tuple[int, int]:
    """A time in nanoseconds and the counter at that time."""
    readings = []
    for _ in range(_TRIES):
        before = time.monotonic_ns()
        count = read()
        after = time.monotonic_ns()
        readings.append((after - before, (before + after) // 2, count))
    _, moment, count = min(readings)
    return moment, count
