"""What the detector refuses."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class UnknownClass(BlindgateError):
    """A request asks for a class that the model does not know; the message names it."""


class ModelError(BlindgateError):
    """A model's folder, manifest and ONNX file do not fit together; the message says how."""


class ManifestError(ModelError):
    """A manifest breaks a rule; the message names the field, the rule and the file."""
