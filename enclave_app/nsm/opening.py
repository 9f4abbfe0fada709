"""From the measured configuration's words to a client."""

from __future__ import annotations

from typing import Final

from enclave_app.nsm.device import DeviceNsm
from enclave_app.nsm.errors import NsmUnavailable
from enclave_app.nsm.stream import SocketNsm

DEVICE: Final = "/dev/nsm"
_UNIX: Final = "unix://"


def open_nsm(where: str) -> DeviceNsm | SocketNsm:
    """The security module that the measured configuration names.

    Args:
        where: `/dev/nsm`, or `unix:///path` in development.

    Raises:
        NsmUnavailable: It cannot be opened, or `where` is neither.
    """
    if where == DEVICE:
        return DeviceNsm(where)
    if where.startswith(f"{_UNIX}/"):
        return SocketNsm(where.removeprefix(_UNIX))
    raise NsmUnavailable(f"{where!r} is neither {DEVICE} nor unix:///path")
