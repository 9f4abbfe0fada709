"""When one request passed through which stage, as the parent can know it.

Metrics and traces are both made from it once the request is over, so that neither reaches into
the pool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

#: The outcome of an exchange whose link broke before the answer.
LOST: Final = "lost"
#: The outcome of an exchange whose client went away.
CANCELLED: Final = "cancelled"


class Stage(StrEnum):
    """Where a request's time goes.

    Attributes:
        UPLOAD: Receiving its body.
        QUEUE: Waiting for a connection to an enclave that may take it.
        EXCHANGE: From the first byte to the enclave to the last one of its answer.
    """

    UPLOAD = "upload"
    QUEUE = "queue"
    EXCHANGE = "exchange"


@dataclass(slots=True)
class Passage:
    """One stage of a request; as a context manager it measures its block.

    Attributes:
        stage: Which.
        started: When, on `time.perf_counter`.
        ended: When it was over, however it went.
        operation: What the enclave was asked for, in an exchange.
        enclave: The enclave's address, in an exchange.
        outcome: The enclave's, or `LOST` or `CANCELLED`, in an exchange.
    """

    stage: Stage
    started: float
    ended: float
    operation: str | None = None
    enclave: str | None = None
    outcome: str | None = None
    _passages: list[Passage] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = time.perf_counter()
        self._passages.append(self)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


class Timeline:
    """The stages of one request; several of a kind if an enclave was tried in vain.

    Attributes:
        started: When the request came, on `time.perf_counter`.
        passages: Its stages so far, in the order of their ends.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.passages: list[Passage] = []
        self._epoch = time.time_ns() - int(self.started * 1e9)

    def __repr__(self) -> str:
        return f"<Timeline {', '.join(passage.stage for passage in self.passages)}>"

    def stage(self, stage: Stage) -> Passage:
        """Measure a block as a stage."""
        return Passage(stage, self.started, self.started, _passages=self.passages)

    def nanoseconds(self, moment: float) -> int:
        """A moment on `time.perf_counter` in nanoseconds since 1970."""
        return self._epoch + int(moment * 1e9)
