"""The files that the audit log is written to: appended to and never read again while they grow."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from blindgate.errors import BlindgateError
from gateway.audit.chain import MAX_LINE, BrokenChain, Head, link, read

_log = logging.getLogger(__name__)

#: How often the head goes to the ordinary log, which is kept elsewhere, while much is recorded;
#: otherwise it is there within a minute.
HEAD_EVERY: Final = 100
#: Bytes of one file before the next one is begun: some 150,000 records.
FILE_BYTES: Final = 64 * 1024 * 1024
#: Full files that are kept beside the current one: 2 GiB, of a volume of 16 GiB.
KEPT_FILES: Final = 32
#: Bytes of a key: as many as HMAC-SHA256 has bits of strength (RFC 2104 §3), up to any passphrase.
KEY_BYTES: Final = range(32, 1025)


class AuditUnusable(BlindgateError):
    """The audit log cannot be continued."""


def read_key(path: Path) -> bytes:
    """The key of a chain: the content of a file, without white space at its end.

    Raises:
        AuditUnusable: It is too short to be one, or too long.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        key = file.read(KEY_BYTES.stop + 1).rstrip()
    if len(key) not in KEY_BYTES:
        raise AuditUnusable(
            f"{path}: a key has {KEY_BYTES.start} to {KEY_BYTES.stop - 1} bytes; make one with "
            "`openssl rand -hex 32`"
        )
    return key


class AuditLog:
    """Appends records to a file, and begins another one when it is full. Only one process may.

    A full file is renamed: the number of its last record follows its name. If something else
    moves the file away (logrotate), the chain goes on in a new one as well.

    Args:
        path: The file; made if it is not there, readable for its owner alone.
        key: For HMACs in place of plain hashes.
        file_bytes: Bytes of one file.
        kept_files: Full files that are kept.

    Raises:
        AuditUnusable: Another process writes to it, or its end is no line of an audit log.
        OSError: It cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: bytes | None = None,
        file_bytes: int = FILE_BYTES,
        kept_files: int = KEPT_FILES,
    ) -> None:
        self._path = path
        self._key = key
        self._file_bytes = file_bytes
        self._kept_files = kept_files
        self._failed = False
        self._handle = _open(path)
        try:
            self._head = self._find_head()
        except BaseException:
            os.close(self._handle)
            raise
        self._logged = self._head
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
            AuditUnusable: Another process writes to the file that the path names now.
        """
        try:
            self._append(record)
        except (OSError, AuditUnusable):
            self._failed = True
            raise
        self._failed = False
        if self._head.seq - self._logged.seq >= HEAD_EVERY:
            self.log_head()

    def can_write(self) -> bool:
        """Whether the last record was written; after a failure, whether another one can be."""
        if self._failed:
            try:
                self.append({"time": now(), "operation": "auditCheck"})
            except (OSError, AuditUnusable):
                return False
        return True

    def log_head(self) -> None:
        """Note the head in the ordinary log, if it is not there yet."""
        if self._head != self._logged:
            self._logged = self._head
            _log.info("audit log head", extra={"head": str(self._head)})

    def close(self) -> None:
        """Bring everything to the disk and say where the chain ends."""
        _finish(self._handle)
        _log.info("the audit log is closed", extra={"head": str(self._head)})

    def _append(self, record: Mapping[str, Any]) -> None:
        line, head = link(self._head, record, self._key)
        size = self._follow_the_path()
        if size and size + len(line) > self._file_bytes:
            self._begin_another()
        written = os.write(self._handle, line)
        if written != len(line):
            # A full disk took part of it. Take that back, so that the chain can go on.
            os.ftruncate(self._handle, os.fstat(self._handle).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._head = head

    def _follow_the_path(self) -> int:
        """Have the file that the path names open; returns its size."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        here = os.fstat(self._handle)
        if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return here.st_size
        new = _open(self._path)
        # Not here: to write 64 MiB to a disk takes longer than other requests should wait.
        threading.Thread(target=_finish, args=(self._handle,), name="audit-sync").start()
        self._handle = new
        _log.info("the audit log goes on in a new file", extra={"head": str(self._head)})
        return os.fstat(new).st_size

    def _begin_another(self) -> None:
        self._path.rename(self._path.with_name(f"{self._path.name}.{self._head.seq:012d}"))
        self._follow_the_path()
        for old in self._full_files()[: -self._kept_files or None]:
            # The chain of the rest is verified after this head.
            head = _last_head(old, self._key)
            old.unlink(missing_ok=True)
            _log.warning("the oldest audit file was deleted", extra={"head": str(head)})

    def _full_files(self) -> list[Path]:
        """The files that were begun before, the oldest first."""
        full = re.compile(re.escape(self._path.name) + r"\.[0-9]{12}", re.ASCII)
        return sorted(each for each in self._path.parent.iterdir() if full.fullmatch(each.name))

    def _find_head(self) -> Head:
        """The head of the file's last line; what comes before is for `blindgate audit verify`."""
        try:
            head = _head_of(self._handle, self._key)
        except BrokenChain:
            raise AuditUnusable(
                f"{self._path}: the last line is not a whole line of an audit log under this "
                "key. Check it with `blindgate audit verify`, move the file away, and start again"
            ) from None
        if head is not None:
            return head
        # It was moved away, or was full, and nothing was recorded since.
        beside = [
            _last_head(each, self._key)
            for each in self._path.parent.iterdir()
            if each.name.startswith(self._path.name) and each != self._path and each.is_file()
        ]
        return max((head for head in beside if head), key=lambda head: head.seq, default=Head())


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _open(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AuditUnusable(f"{path}: another process writes to this audit log") from None
    return handle


def _finish(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        _log.error("a file of the audit log may not be on the disk", extra={"reason": str(error)})
    finally:
        os.close(handle)


def _head_of(handle: int, key: bytes | None) -> Head | None:
    """The head of a file's last line; None if it has none.

    Raises:
        BrokenChain: That is not a line of a log under this key.
    """
    size = os.fstat(handle).st_size
    if not size:
        return None
    end = os.pread(handle, MAX_LINE, max(0, size - MAX_LINE))
    return read(end.splitlines(keepends=True)[-1], key=key)[1]


def _last_head(path: Path, key: bytes | None) -> Head | None:
    """The head of a file beside the log; None if it is something else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _head_of(handle, key)
    except (BrokenChain, OSError):
        return None
    finally:
        os.close(handle)
