"""Keeping the worker's memory out of core files and away from debuggers."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

#: From linux/prctl.h: whether a crash may write a core file and other processes may attach.
_PR_SET_DUMPABLE: Final = 4


def forbid_dumps() -> None:
    """Forbid core files, and where the system can (Linux) tracing by processes of the same user.

    What a core file would hold are keys and images. A limit of zero does not stop a core pattern
    that pipes to a program (core(5)); not being dumpable does.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
