"""API keys in a file that only the gateway's user can read."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from blindgate.atomic_files import writing
from gateway.auth.keys import MAX_BYTES, InvalidKeyStore, KeyRecord, Keys, KeyStore

_log = logging.getLogger(__name__)


class KeyFile:
    """Keys that are read again whenever the file changes, so that a revocation counts at once.

    Args:
        path: The file.

    Raises:
        InvalidKeyStore: It is not a list of keys.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        try:
            self._keys = Keys(read_keys(path))
        except InvalidKeyStore as error:
            raise InvalidKeyStore(f"{path}: {error}") from None

    def __repr__(self) -> str:
        return f"<KeyFile {self._path}, {len(self._keys)} keys>"

    def find(self, presented: str) -> KeyRecord | None:
        """The valid key that was presented, or None."""
        # 2 microseconds: cheaper than any way of being told, and never late.
        if (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            self._reload()
        return self._keys.find(presented)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _reload(self) -> None:
        try:
            self._keys = Keys(read_keys(self._path))
        except InvalidKeyStore as error:
            # Half-edited by hand: the keys that were good a moment ago still are.
            _log.error("the changed key file is not used", extra={"reason": str(error)})
        except OSError as error:
            # Taken away: then nobody is let in by it.
            self._keys = Keys(KeyStore())
            _log.error("the key file is gone", extra={"reason": error.strerror})
        else:
            _log.info("the key file was read again")


def read_keys(path: Path) -> KeyStore:
    """The keys in a file.

    Raises:
        InvalidKeyStore: It is something else.
        OSError: It cannot be read, or is not there.
    """
    with path.open("rb") as file:
        return KeyStore.from_json(file.read(MAX_BYTES + 1))


def change_keys(path: Path, change: Callable[[KeyStore], KeyStore]) -> None:
    """Replace a file's keys in one step, or make the file; concurrent changes are serialised.

    Raises:
        InvalidKeyStore: The file holds something else.
        OSError: It cannot be written.
    """
    with _locked(path):
        store = read_keys(path) if path.exists() else KeyStore()
        text = change(store).to_json()
        with writing(path, mode=0o600) as file:
            _take_over(path, file.fileno())
            file.write(text.encode())


def _take_over(path: Path, handle: int) -> None:
    """Give a new file the owner of the old one: root changes keys that the gateway reads."""
    with contextlib.suppress(FileNotFoundError):
        old = path.stat()
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, old.st_mode & 0o640)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Beside the file: the file itself is replaced under the lock.
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
