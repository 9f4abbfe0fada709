"""What the protocol tells of the server and its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from blindgate.oip.tensors import INPUT, declared_outputs

SERVER: Final = "blindgate"
#: The release of this protocol's implementation: an enclave has no package metadata to ask.
VERSION: Final = "0.1.0"
#: The binary tensor data extension, by the name that Triton gives it.
EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "blindgate_onnxruntime"


def server_metadata() -> dict[str, Any]:
    """The answer to `GET /v2`."""
    return {"name": SERVER, "version": VERSION, "extensions": list(EXTENSIONS)}


def model_metadata(name: str, versions: Sequence[str]) -> dict[str, Any]:
    """The answer to `GET /v2/models/{name}`."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [each.described() for each in declared_outputs()],
    }
