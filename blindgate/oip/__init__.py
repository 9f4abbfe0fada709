"""The Open Inference Protocol, version 2, as far as one detector needs it (docs/api.md).

Gateway and worker share it: what the gateway answers outside, the worker answers inside a
sealed request. No sockets, no HTTP framework and no numpy here.
"""

from blindgate.oip.answer import InferAnswer, encode_answer, largest_answer
from blindgate.oip.errors import OipError, error_text
from blindgate.oip.metadata import model_metadata, server_metadata
from blindgate.oip.request import InferRequest, parse_request

__all__ = [
    "InferAnswer",
    "InferRequest",
    "OipError",
    "encode_answer",
    "error_text",
    "largest_answer",
    "model_metadata",
    "parse_request",
    "server_metadata",
]
