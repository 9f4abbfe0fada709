"""An event that signal handlers may set."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class StopFlag:
    """Like `threading.Event`, for one waiting thread, and safe to set in a signal handler.

    `threading.Event.wait` briefly holds a lock. A handler that runs in the same thread in that
    moment, and sets the event, deadlocks. `SimpleQueue.put` is reentrant
    (https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put).
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Set the flag, and wake the thread that waits."""
        self._is_set = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, or the time is over; whether it is set."""
        if not self._is_set:
            with suppress(Empty):
                self._wake.get(timeout=seconds)
        return self._is_set
