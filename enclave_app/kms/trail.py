"""Which KMS calls a piece of work has made, by KMS's own ids, for the parent's audit log.

The ids say nothing about content: the parent has seen the calls pass, and CloudTrail lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRAIL: ContextVar[list[str] | None] = ContextVar("kms_trail", default=None)


@contextmanager
def followed() -> Iterator[list[str]]:
    """Collect the ids of the calls that this thread makes within the block."""
    ids: list[str] = []
    token = _TRAIL.set(ids)
    try:
        yield ids
    finally:
        _TRAIL.reset(token)


def note(request_id: str | None) -> None:
    """A call was answered, whatever the answer."""
    ids = _TRAIL.get()
    if ids is not None and request_id is not None:
        ids.append(request_id)
