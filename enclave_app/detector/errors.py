"""What the detector refuses."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class ImageRejected(BlindgateError):
    """The bytes are no picture that the detector accepts.

    One error without a reason for everything from a wrong format to a truncated file: whoever
    sent the picture can open it, and nobody else learns anything about it.
    """

    def __init__(self) -> None:
        super().__init__("not an image that the detector accepts")


class UnknownClass(BlindgateError):
    """A request asks for a class that the model does not know; the message names it."""


class ModelError(BlindgateError):
    """A model's folder, manifest and ONNX file do not fit together; the message says how."""


class ManifestError(ModelError):
    """A manifest breaks a rule; the message names the field, the rule and the file."""
