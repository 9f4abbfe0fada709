"""The kernel's device: one ioctl on `/dev/nsm` (linux/nsm.h, aws-nitro-enclaves-nsm-api)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final, Protocol

from enclave_app.nsm.client import NsmClient
from enclave_app.nsm.errors import NsmInputTooLarge, NsmInternalError, NsmUnavailable
from enclave_app.nsm.messages import MAX_RESPONSE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class _IoVec(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("length", ctypes.c_uint64))


class RawMessage(ctypes.Structure):
    """`struct nsm_raw`: where the request is, and where the answer goes; 32 bytes."""

    _fields_ = (("request", _IoVec), ("response", _IoVec))
    request: _IoVec
    response: _IoVec


#: _IOWR(0x0A, 0, struct nsm_raw): read and write, 32 bytes, type 0x0A, number 0.
NSM_IOCTL_RAW: Final = 3 << 30 | ctypes.sizeof(RawMessage) << 16 | 0x0A << 8 | 0


class Ioctl(Protocol):
    """`fcntl.ioctl` as this module calls it."""

    def __call__(self, fd: int, request: int, message: RawMessage, mutate: bool, /) -> object:
        """Exchange; raises OSError with the driver's errno."""


class DeviceNsm(NsmClient):
    """The module behind `/dev/nsm`.

    The driver takes one request at a time and queues the others, so no lock is held here.

    Args:
        path: The device.
        ioctl: For tests.

    Raises:
        NsmUnavailable: The device cannot be opened.
    """

    def __init__(self, path: str = "/dev/nsm", *, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._ioctl = ioctl
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise NsmUnavailable(f"cannot open {path}: {error.strerror}") from None

    def __repr__(self) -> str:
        return f"<DeviceNsm {self._path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the device; later calls raise NsmUnavailable."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def exchange(self, request: bytes) -> bytes:
        """One ioctl.

        Raises:
            NsmInputTooLarge: The driver says EMSGSIZE.
            NsmInternalError: The driver says anything else, as the reference client does.
            NsmUnavailable: The device is closed.
        """
        if self._fd < 0:
            raise NsmUnavailable(f"{self._path} is closed")
        outgoing = ctypes.create_string_buffer(request, len(request))
        incoming = ctypes.create_string_buffer(MAX_RESPONSE)
        message = RawMessage(
            _IoVec(ctypes.addressof(outgoing), len(request)),
            _IoVec(ctypes.addressof(incoming), MAX_RESPONSE),
        )
        try:
            self._ioctl(self._fd, NSM_IOCTL_RAW, message, True)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise NsmInputTooLarge("the request") from None
            raise NsmInternalError("the request") from error
        length = min(int(message.response.length), MAX_RESPONSE)
        return incoming.raw[:length]
