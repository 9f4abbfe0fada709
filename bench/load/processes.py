"""What processes have used, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
#: Fields of /proc/PID/stat behind the program's name (proc(5)): parent, utime, stime.
_PARENT, _UTIME, _STIME = 1, 11, 12


def family(roots: Iterable[int]) -> set[int]:
    """The processes and all their living descendants."""
    parents: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int(_stat(int(folder.name))[_PARENT])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of the processes and their descendants, user and system."""
    total = 0.0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            total += (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS
    return total


def memory(roots: Iterable[int]) -> int:
    """Bytes of resident memory, summed; pages that several processes share count in each."""
    total = 0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def _stat(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
