"""What the model tools refuse."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class UnknownModelError(BlindgateError):
    """No model has this name; the message lists those that there are."""


class FetchError(BlindgateError):
    """A model's source could not be had, or is not what its manifest pins."""


class BuildError(BlindgateError):
    """A model's ONNX file could not be made, or is not what its manifest pins."""
