"""Runs a program in a folder of unpacked Debian packages as its root, without a network.

With `chroot` as root; otherwise in an unprivileged user namespace, where the machine allows those.
So the tools of a build come from a lock alone and always find the same paths.

Source: unshare(1), chroot(1), user_namespaces(7).
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from enclave_image.errors import ToolchainError

_NAMESPACES: Final = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts")
_AS_ROOT: Final = ("--user", "--map-root-user")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/usr/sbin", "HOME": "/", "LC_ALL": "C.UTF-8"}
#: Lines of output that an error may quote.
_TAIL: Final = 40
_PROBE_SECONDS: Final = 30


class CommandFailed(ToolchainError):
    """A program in the sandbox ended with an error.

    Attributes:
        tail: The last lines of its output.
    """

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


def prepare(root: Path) -> None:
    """Add what Debian's installation scripts would have added to a folder of packages."""
    for name in ("bin", "lib", "sbin", "lib64"):
        if not (root / name).is_symlink():
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
    for name, target in (("awk", "mawk"), ("sh", "dash"), ("cc", "gcc")):
        path = root / "usr/bin" / name
        if not path.is_symlink():
            path.symlink_to(target)
    for name in ("dev", "tmp", "proc"):
        (root / name).mkdir(exist_ok=True)
    for name in _DEVICES:
        (root / "dev" / name).touch()


def run(root: Path, command: list[str], on_line: Callable[[str], None] = lambda _: None) -> None:
    """Run a program with a folder as its root directory.

    Args:
        root: The folder, after `prepare`.
        command: The program and its arguments, as paths inside the folder.
        on_line: Called with each line of its output.

    Raises:
        CommandFailed: It ended with an error.
        ToolchainError: This machine offers neither chroot nor user namespaces.
    """
    quoted = shlex.quote(str(root))
    lines = [f"mount --bind /dev/{name} {quoted}/dev/{name}" for name in _DEVICES]
    lines.append(f"exec chroot {quoted} {shlex.join(command)}")
    script = " && ".join(lines)
    program = [*_unshare(), "sh", "-c", script]
    tail: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        program,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_ENVIRONMENT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            tail.append(line.rstrip())
            on_line(tail[-1])
    if process.returncode != 0:
        raise CommandFailed(f"{command[0]} ended with status {process.returncode}", list(tail))


def _unshare() -> list[str]:
    """The command that gives a program namespaces of its own.

    Raises:
        ToolchainError: None works here.
    """
    attempts = [["unshare", *_NAMESPACES, "--"]] if os.geteuid() == 0 else []
    attempts.append(["unshare", *_AS_ROOT, *_NAMESPACES, "--"])
    for attempt in attempts:
        try:
            subprocess.run(
                [*attempt, "true"],
                check=True,
                capture_output=True,
                timeout=_PROBE_SECONDS,
                env=_ENVIRONMENT,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return attempt
    raise ToolchainError(
        "the kernel is built in a chroot, and this machine allows none: run as root, or allow "
        "unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0), or give a finished kernel with --kernel"
    )
