"""The link between gateway and enclave: frames, addresses and how to dial them.

`docs/link.md` is the specification; the numbers in the docstrings are its sections.
"""

from __future__ import annotations

from blindgate.link.addresses import (
    Address,
    HybridAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
)
from blindgate.link.errors import AddressError, DialError, FrameError, HeaderTooLarge, LinkError
from blindgate.link.frames import (
    AnswerHeader,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
)

__all__ = [
    "Address",
    "AddressError",
    "AnswerHeader",
    "DialError",
    "FrameError",
    "FrameLimits",
    "FrameReader",
    "HeaderTooLarge",
    "HybridAddress",
    "LinkError",
    "Operation",
    "Outcome",
    "RequestHeader",
    "UnixAddress",
    "VsockAddress",
    "parse_address",
]
