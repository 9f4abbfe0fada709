"""What can go wrong with an enclave image."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class ImageError(BlindgateError):
    """An enclave image cannot be built or read."""


class MalformedImage(ImageError):
    """The bytes are no enclave image that we accept; the message says at which place."""


class LockError(ImageError):
    """A lock file cannot be read, or does not hold what the build needs."""


class FetchFailed(ImageError):
    """A locked input cannot be had, or is not what the lock says."""


class ToolchainError(ImageError):
    """The locked interpreter that compiles and compresses cannot do its work here."""
