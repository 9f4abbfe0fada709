"""What every party shares: protocols, attestation, sealing, the client SDK and the CLI."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blindgate.client import (
        AsyncBlindgate,
        AsyncOhttpTransport,
        Blindgate,
        OhttpTransport,
    )

__all__ = ["AsyncBlindgate", "AsyncOhttpTransport", "Blindgate", "OhttpTransport"]


def __getattr__(name: str) -> object:
    """The SDK's names, loaded when they are asked for: the enclave imports none of the SDK."""
    if name in __all__:
        # By name, so that the closure of the enclave's imports, which is measured, ends here.
        return getattr(import_module("blindgate.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
