"""Where the dev stack keeps its files, and where its programs meet."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.errors import BlindgateError
from blindgate.link.addresses import MAX_UNIX_PATH

#: How the configuration begins that a stack writes.
CONFIG_MARK: Final = "# Written by `blindgate dev`."
#: What a stack replaces in its folder whenever it starts.
_REPLACED: Final = ("enclave.toml", "pcrs.json", "key-policy.json", "ca.pem", "vsock-proxy.yaml")
#: Longest name of a socket below, with its slash.
_LONGEST_SOCKET: Final = 16


def default_state() -> Path:
    """`$BLINDGATE_DEV_ROOT`, or `blindgate/dev` in the folder for a user's state."""
    if named := os.environ.get("BLINDGATE_DEV_ROOT"):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "blindgate" / "dev"


class StateUnusable(BlindgateError):
    """The folder cannot be made, or holds files that are not a stack's."""


def _too_long(folder: Path) -> bool:
    return len(str(folder).encode()) + _LONGEST_SOCKET > MAX_UNIX_PATH


def _refuse_foreign(state: Path) -> None:
    """See that a stack replaces nothing but what a stack has written.

    Raises:
        StateUnusable: The folder belongs to something else, such as a deployment.
    """
    there = [state / name for name in _REPLACED if (state / name).exists()]
    if not there:
        return
    try:
        mine = (state / "enclave.toml").read_bytes().startswith(CONFIG_MARK.encode())
    except OSError:
        mine = False
    if not mine:
        raise StateUnusable(
            f"{there[0]} was not written by `blindgate dev`, and would be replaced: use another "
            "--state"
        )


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one stack.

    Attributes:
        state: The folder that outlives the stack: roots, keys of the dev KMS, configuration.
        sockets: The folder of its Unix sockets, whose paths must be short.
    """

    state: Path
    sockets: Path

    @classmethod
    def prepare(cls, state: Path) -> Places:
        """Make the folders.

        Raises:
            StateUnusable: They cannot be made, or files would be replaced that are not a stack's.
        """
        state = state.absolute()
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateUnusable(f"cannot make the folder {state}: {error.strerror}") from None
        _refuse_foreign(state)
        sockets = state / "run"
        if _too_long(sockets):
            sockets = Path(tempfile.mkdtemp(prefix="blindgate-"))
        if _too_long(sockets):  # a long $TMPDIR, as macOS has one by default
            sockets.rmdir()
            sockets = Path(tempfile.mkdtemp(prefix="blindgate-", dir="/tmp"))
        try:
            sockets.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateUnusable(f"cannot make the folder {sockets}: {error.strerror}") from None
        return cls(state, sockets)

    def tidy(self) -> None:
        """Remove the sockets."""
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def kms(self) -> Path:
        """Keys, principals, certificates and AWS configuration files of the dev KMS."""
        return self.state / "kms"

    @property
    def nsm_root(self) -> Path:
        """The certificate that attestation documents of this stack end in."""
        return self.state / "root.pem"

    @property
    def pcrs(self) -> Path:
        """Measurements of the worker, as nitro-cli prints them."""
        return self.state / "pcrs.json"

    @property
    def config(self) -> Path:
        """The measured configuration."""
        return self.state / "enclave.toml"

    @property
    def policy(self) -> Path:
        """The key policy that names the measurements."""
        return self.state / "key-policy.json"

    @property
    def running(self) -> Path:
        """What runs now; there only while it does."""
        return self.state / "running.json"

    def socket(self, name: str) -> str:
        """The address of a Unix socket."""
        return f"unix://{self.sockets / name}"
