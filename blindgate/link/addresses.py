"""Where an enclave, or its way out, is found (docs/link.md §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from blindgate.link.errors import AddressError

#: The parent instance, as an enclave sees it: VMADDR_CID_PARENT of the Nitro Enclaves SDKs.
PARENT_CID: Final = 3
#: VMADDR_CID_ANY of linux/vm_sockets.h: what a listener in an enclave binds to.
ANY_CID: Final = 0xFFFF_FFFF
#: The longest path that fits sockaddr_un.sun_path with its terminating zero: 104 bytes on macOS,
#: 108 on Linux, unix(7). One limit for both, so that a configuration is valid on either.
MAX_UNIX_PATH: Final = 103

_VSOCK = re.compile(r"vsock://(any|[0-9]{1,10}):([0-9]{1,10})")
_HYBRID = re.compile(r"hybrid://(/[^\x00]+):([0-9]{1,10})")
_UNIX = re.compile(r"unix://(/[^\x00]+)")


@dataclass(frozen=True, slots=True)
class VsockAddress:
    """An AF_VSOCK port: `vsock://CID:PORT`, with `any` for every CID of a listener."""

    cid: int
    port: int
    scheme: Literal["vsock"] = "vsock"

    def __str__(self) -> str:
        return f"vsock://{'any' if self.cid == ANY_CID else self.cid}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix stream socket: `unix:///path`."""

    path: str
    scheme: Literal["unix"] = "unix"

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class HybridAddress:
    """A guest's vsock port behind a Unix socket of the VMM: `hybrid:///path:PORT`.

    Spoken by Firecracker, Cloud Hypervisor and vhost-device-vsock: the host connects to the
    socket and asks for the port in one line.
    """

    path: str
    port: int
    scheme: Literal["hybrid"] = "hybrid"

    def __str__(self) -> str:
        return f"hybrid://{self.path}:{self.port}"


Address = VsockAddress | UnixAddress | HybridAddress


def parse_address(text: str) -> Address:
    """Read an address.

    Args:
        text: `vsock://CID:PORT`, `unix:///path` or `hybrid:///path:PORT`.

    Raises:
        AddressError: The text is none of them, or a number or path is out of range.
    """
    if match := _VSOCK.fullmatch(text):
        cid = ANY_CID if match[1] == "any" else _number(match[1], text)
        return VsockAddress(cid, _number(match[2], text))
    if match := _HYBRID.fullmatch(text):
        return HybridAddress(_path(match[1], text), _number(match[2], text))
    if match := _UNIX.fullmatch(text):
        return UnixAddress(_path(match[1], text))
    raise AddressError(
        f"{text!r} is not an address; write vsock://CID:PORT, unix:///path or hybrid:///path:PORT"
    )


def _number(digits: str, text: str) -> int:
    value = int(digits)
    if value >= ANY_CID:
        raise AddressError(f"{text!r} holds a number over 32 bits")
    return value


def _path(path: str, text: str) -> str:
    if len(path.encode()) > MAX_UNIX_PATH:
        raise AddressError(f"{text!r} holds a path of over {MAX_UNIX_PATH} bytes")
    return path
