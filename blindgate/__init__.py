"""What every party shares: protocols, attestation, sealing, the client SDK and the CLI."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blindgate.attestation import InvalidTrust, PcrSet, Root, Trust
    from blindgate.client import (
        AnswerRejected,
        AsyncBlindgate,
        AsyncOhttpTransport,
        Blindgate,
        ClientError,
        GatewayProblem,
        GatewayUnreachable,
        InvalidCredentials,
        InvalidGateway,
        InvalidOptions,
        InvalidPhoto,
        NotSealed,
        OhttpTransport,
        PhotoResult,
        ProblemError,
        UnsupportedSource,
        VerificationFailed,
        VerifiedEnclave,
    )
    from blindgate.detections import Detections
    from blindgate.errors import BlindgateError

    __version__: str

__all__ = [
    "AnswerRejected",
    "AsyncBlindgate",
    "AsyncOhttpTransport",
    "Blindgate",
    "BlindgateError",
    "ClientError",
    "Detections",
    "GatewayProblem",
    "GatewayUnreachable",
    "InvalidCredentials",
    "InvalidGateway",
    "InvalidOptions",
    "InvalidPhoto",
    "InvalidTrust",
    "NotSealed",
    "OhttpTransport",
    "PcrSet",
    "PhotoResult",
    "ProblemError",
    "Root",
    "Trust",
    "UnsupportedSource",
    "VerificationFailed",
    "VerifiedEnclave",
    "__version__",
]

#: Where those are that are not in `blindgate.client`.
_ELSEWHERE: Final = {
    "BlindgateError": "blindgate.errors",
    "Detections": "blindgate.detections",
    **dict.fromkeys(("InvalidTrust", "PcrSet", "Root", "Trust"), "blindgate.attestation"),
}


def __getattr__(name: str) -> object:
    """The SDK's names, loaded when they are asked for: the enclave imports none of the SDK."""
    if name == "__version__":
        return _version()
    if name in __all__:
        # By name, so that the closure of the enclave's imports, which is measured, ends here.
        return getattr(import_module(_ELSEWHERE.get(name, "blindgate.client")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The module's names, with those that are not loaded yet."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The version that is installed; `0+source` for a source tree that is not."""
    metadata = import_module("importlib.metadata")
    try:
        return str(metadata.version("blindgate"))
    except metadata.PackageNotFoundError:
        return "0+source"
