"""The file that the audit log is written to: appended to and never read again while it grows."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from blindgate.errors import BlindgateError
from gateway.audit.chain import MAX_LINE, BrokenChain, Head, link, read

_log = logging.getLogger(__name__)

#: How often the head goes to the ordinary log, which is kept elsewhere: what is cut off the end
#: of the file later than this is noticed.
HEAD_EVERY: Final = 100


class AuditUnusable(BlindgateError):
    """The audit log cannot be continued."""


class AuditLog:
    """Appends records to one file. Only one process may.

    If the file is moved away (logrotate), the chain goes on in a new one.

    Args:
        path: The file; made if it is not there, readable for its owner alone.

    Raises:
        AuditUnusable: Another process writes to it, or its end is no line of an audit log.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = _open(path)
        try:
            self._head = _head_of(self._handle, path)
        except AuditUnusable:
            os.close(self._handle)
            raise
        _log.info("the audit log goes on", extra={"head": str(self._head)})

    def __repr__(self) -> str:
        return f"<AuditLog {self._path}, {self._head.seq} records>"

    @property
    def head(self) -> Head:
        """Where the chain ends."""
        return self._head

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        One `write` to a file takes 10 microseconds; the kernel has it then, whatever becomes of
        this process.

        Raises:
            OSError: It was not written; nothing may be answered then.
        """
        self._follow_the_path()
        line, head = link(self._head, record)
        written = os.write(self._handle, line)
        if written != len(line):
            # A full disk took part of it. Take that back, so that the chain can go on.
            os.ftruncate(self._handle, os.fstat(self._handle).st_size - written)
            raise OSError(28, os.strerror(28), str(self._path))
        self._head = head
        if head.seq % HEAD_EVERY == 0:
            _log.info("audit log head", extra={"head": str(head)})

    def close(self) -> None:
        """Bring everything to the disk and say where the chain ends."""
        os.fsync(self._handle)
        os.close(self._handle)
        _log.info("the audit log is closed", extra={"head": str(self._head)})

    def _follow_the_path(self) -> None:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        here = os.fstat(self._handle)
        if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return
        new = _open(self._path)
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = new
        _log.info("the audit log goes on in a new file", extra={"head": str(self._head)})


def _open(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AuditUnusable(f"{path}: another process writes to this audit log") from None
    return handle


def _head_of(handle: int, path: Path) -> Head:
    """The head of a file's last line; what comes before is for `blindgate audit verify`."""
    size = os.fstat(handle).st_size
    if not size:
        return Head()
    end = os.pread(handle, MAX_LINE, max(0, size - MAX_LINE))
    lines = end.splitlines(keepends=True)
    try:
        return read(lines[-1])[1]
    except BrokenChain:
        raise AuditUnusable(
            f"{path}: the last line is not a whole line of an audit log. Check it with "
            "`blindgate audit verify`, move the file away, and start anew"
        ) from None
