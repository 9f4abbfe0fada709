"""The Python SDK: verify an enclave, seal requests to it, open its responses.

- `Blindgate`, `AsyncBlindgate`: photos in, detections out.
- `OhttpTransport`, `AsyncOhttpTransport`: transports that seal the requests of any httpx client.

Nothing is sent to an enclave before it is verified; no option turns that off.
"""

from __future__ import annotations

from blindgate.client._async.client import AsyncBlindgate
from blindgate.client._async.transport import AsyncOhttpTransport
from blindgate.client._sync.client import Blindgate
from blindgate.client._sync.transport import OhttpTransport
from blindgate.client.errors import (
    AnswerRejected,
    ClientError,
    GatewayProblem,
    GatewayUnreachable,
    InvalidCredentials,
    InvalidGateway,
    InvalidOptions,
    InvalidPhoto,
    NotSealed,
    ProblemError,
    UnsupportedSource,
    VerificationFailed,
)
from blindgate.client.images import PhotoResult, PhotoSource
from blindgate.client.session import VerifiedEnclave
from blindgate.client.trust import TrustLike, resolve

__all__ = [
    "AnswerRejected",
    "AsyncBlindgate",
    "AsyncOhttpTransport",
    "Blindgate",
    "ClientError",
    "GatewayProblem",
    "GatewayUnreachable",
    "InvalidCredentials",
    "InvalidGateway",
    "InvalidOptions",
    "InvalidPhoto",
    "NotSealed",
    "OhttpTransport",
    "PhotoResult",
    "PhotoSource",
    "ProblemError",
    "TrustLike",
    "UnsupportedSource",
    "VerificationFailed",
    "VerifiedEnclave",
    "resolve",
]
