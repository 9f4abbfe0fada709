"""The enclave's side of the Nitro Secure Module.

`open_nsm` is the one door: `/dev/nsm` on hardware and in the emulated enclave, a Unix socket in
development. Which of them is used comes from the measured configuration, so that PCR0 shows it.
"""

from __future__ import annotations

from typing import Final

from enclave_app.nsm.client import Description, Nsm, Pcr
from enclave_app.nsm.device import DeviceNsm
from enclave_app.nsm.errors import (
    HardwareCheckFailed,
    NsmBufferTooSmall,
    NsmError,
    NsmInputTooLarge,
    NsmInternalError,
    NsmInvalidArgument,
    NsmInvalidIndex,
    NsmInvalidOperation,
    NsmInvalidResponse,
    NsmProtocolError,
    NsmReadOnlyIndex,
    NsmRefused,
    NsmUnavailable,
)
from enclave_app.nsm.hardware import check_hardware, seed_kernel
from enclave_app.nsm.stream import SocketNsm

__all__ = [
    "Description",
    "DeviceNsm",
    "HardwareCheckFailed",
    "Nsm",
    "NsmBufferTooSmall",
    "NsmError",
    "NsmInputTooLarge",
    "NsmInternalError",
    "NsmInvalidArgument",
    "NsmInvalidIndex",
    "NsmInvalidOperation",
    "NsmInvalidResponse",
    "NsmProtocolError",
    "NsmReadOnlyIndex",
    "NsmRefused",
    "NsmUnavailable",
    "Pcr",
    "SocketNsm",
    "check_hardware",
    "open_nsm",
    "seed_kernel",
]

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
