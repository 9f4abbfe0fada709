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
from blindgate.link.errors import (
    AddressError,
    BodyTooLarge,
    DialError,
    FrameError,
    HeaderTooLarge,
    LinkError,
    RequestRefused,
)
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
    "BodyTooLarge",
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
    "RequestRefused",
    "UnixAddress",
    "VsockAddress",
    "parse_address",
]
