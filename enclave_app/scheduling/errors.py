"""Why the worker does not do what was asked."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class Overloaded(BlindgateError):
    """A queue is full, or the memory does not suffice."""


class DeadlineExceeded(BlindgateError):
    """No client waits for this response any more."""
