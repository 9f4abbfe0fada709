"""Takes from Python what only Linux has: on PYTHONPATH, every program of a stack runs without.

It stands in for macOS as far as Linux can: names that macOS's Python does not have are gone, /proc
and /sys cannot be read, libc has no prctl, and addresses of Unix sockets have 103 bytes at most.
Native code and `sys.platform` are what they are.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import resource
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import Any

_GONE = {
    os: (
        "EFD_", "GRND_", "MFD_", "O_DIRECT", "O_NOATIME", "O_PATH", "O_TMPFILE", "POSIX_FADV_",
        "RWF_", "SCHED_", "SPLICE_", "copy_file_range", "eventfd", "getrandom", "getresgid",
        "getresuid", "getxattr", "listxattr", "memfd_create", "pidfd_open", "pipe2",
        "posix_fadvise", "posix_fallocate", "removexattr", "sched_", "setns", "setresgid",
        "setresuid", "setxattr", "splice", "unshare",
    ),
    socket: (
        "AF_ALG", "AF_CAN", "AF_NETLINK", "AF_PACKET", "AF_TIPC", "AF_VSOCK", "MSG_CMSG_CLOEXEC",
        "MSG_CONFIRM", "MSG_ERRQUEUE", "MSG_MORE", "MSG_NOSIGNAL", "SOCK_CLOEXEC", "SOCK_NONBLOCK",
        "SO_BINDTODEVICE", "SO_DOMAIN", "SO_INCOMING_CPU", "SO_MARK", "SO_PASSCRED", "SO_PEERCRED",
        "SO_PRIORITY", "SO_PROTOCOL", "SO_VM_SOCKETS", "TCP_CONGESTION", "TCP_CORK",
        "TCP_DEFER_ACCEPT", "TCP_KEEPIDLE", "TCP_LINGER2", "TCP_QUICKACK", "TCP_SYNCNT",
        "TCP_USER_TIMEOUT", "TCP_WINDOW_CLAMP", "VMADDR_", "VM_SOCKETS_",
    ),
    signal: ("SIGPWR", "SIGRTM", "SIGSTKFLT", "sigtimedwait", "sigwaitinfo"),
    resource: ("RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RT", "prlimit"),
    time: ("CLOCK_BOOTTIME", "CLOCK_TAI"),
}  # fmt: skip
_NOT_IN_LIBC = frozenset(
    {"accept4", "eventfd", "mallopt", "malloc_trim", "memfd_create", "prctl", "sched_setaffinity"}
)
_LONGEST_PATH = 103


def _hide(module: Any, name: str) -> None:
    """Have a function fail for /proc and /sys as where there is none."""
    real = getattr(module, name)

    def without(path: Any = ".", *rest: Any, **more: Any) -> Any:
        if not isinstance(path, int) and os.fsdecode(path).startswith(("/proc", "/sys/")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return real(path, *rest, **more)

    setattr(module, name, without)


def _shorten(name: str) -> None:
    """Have a method of sockets refuse the Unix addresses that are too long for macOS."""
    real = getattr(socket.socket, name)

    def checked(self: socket.socket, address: Any) -> Any:
        if self.family == socket.AF_UNIX and len(os.fsencode(address)) > _LONGEST_PATH:
            raise OSError("AF_UNIX path too long")
        return real(self, address)

    setattr(socket.socket, name, checked)


for module, names in _GONE.items():
    for name in [each for each in vars(module) if each.startswith(names)]:
        delattr(module, name)
for name in ("listdir", "lstat", "open", "readlink", "scandir", "stat"):
    _hide(os, name)
_hide(io, "open")
builtins.open = io.open
for name in ("bind", "connect", "connect_ex"):
    _shorten(name)

selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc,assignment]  # no epoll

_symbol: Any = ctypes.CDLL.__getattr__


def _without_linux(self: ctypes.CDLL, name: str) -> Any:
    if name in _NOT_IN_LIBC:
        raise AttributeError(name)
    return _symbol(self, name)


ctypes.CDLL.__getattr__ = _without_linux  # type: ignore[method-assign]

if seen := os.environ.get("BLINDGATE_TEST_NOT_LINUX"):
    with Path(seen).open("a") as file:
        file.write(f"{os.getpid()}\n")
