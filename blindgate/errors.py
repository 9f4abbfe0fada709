"""The root of the error hierarchy."""

from __future__ import annotations


class BlindgateError(Exception):
    """Base of every error that Blindgate raises on purpose.

    Each package derives its own typed errors from it, so that a caller can catch one rule,
    one package, or everything. The message is safe to show to a person: it never holds a key,
    plaintext, or the reason why something sealed could not be opened.
    """
