"""What was measured, as ratios that outlive the machine they were taken on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

#: One photo after the other on each core: what everybody is compared with.
LIMIT: Final = "bare loop"
#: The same with as many photos in one run of the network as its batch allows.
BATCHED: Final = "bare loop, in batches"


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation: a photo's size and how many requests run at any time."""

    photo: str
    concurrency: int


@dataclass(slots=True)
class Sample:
    """One target in one cell in one round.

    Attributes:
        rate: Right answers a second.
        cpu: CPU seconds of the server's processes for each of them.
        front_cpu: The part of the first process: of the gateway, for Blindgate.
        client_cpu: The same of the load generator.
        latencies: Seconds.
        failures: What went wrong.
        refused: How many requests were refused with 503 and sent again a second later.
    """

    rate: float
    cpu: float
    front_cpu: float
    client_cpu: float
    latencies: list[float]
    failures: list[str]
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """One target in one cell over all rounds; ratios are to the bare loop of the same round.

    Attributes:
        rate: Median of right answers a second.
        share: Median ratio of it.
        spread: The least and the most that ratio was.
        p50: Seconds.
        p99: Seconds.
        p50_ratio: Median ratio of the medians.
        cpu: Median CPU seconds a request.
        cpu_ratio: Median ratio of it.
        front_cpu: Median of the first process's part.
        client_cpu: Median CPU seconds that asking took.
        failures: How many answers were wrong.
        refused: How many requests were refused at first.
    """

    rate: float
    share: float
    spread: tuple[float, float]
    p50: float
    p99: float
    p50_ratio: float
    cpu: float
    cpu_ratio: float
    front_cpu: float
    client_cpu: float
    failures: int
    refused: int


@dataclass(slots=True)
class Results:
    """Every sample, by cell and target, with the bare loop's of the same round."""

    samples: dict[tuple[Cell, str], list[tuple[Sample, Sample]]] = field(default_factory=dict)

    def add(self, cell: Cell, target: str, sample: Sample) -> None:
        """Keep one more round's sample; the bare loop's comes first in each round.

        A target that did not start in one round has a sample less.
        """
        limit = sample if target == LIMIT else self.samples[cell, LIMIT][-1][0]
        self.samples.setdefault((cell, target), []).append((sample, limit))

    def targets(self) -> list[str]:
        """Names in the order in which they were measured first, the limit left out."""
        names = dict.fromkeys(name for _, name in self.samples)
        return [name for name in names if name not in (LIMIT, BATCHED)]

    def cells(self) -> list[Cell]:
        """Every cell."""
        return list(dict.fromkeys(cell for cell, _ in self.samples))

    def figure(self, cell: Cell, target: str) -> Figure | None:
        """All rounds of one target in one cell, or None if it was not measured there."""
        measured = self.samples.get((cell, target), [])
        mine = [sample for sample, _ in measured]
        pairs = [(m, b) for m, b in measured if m.latencies]
        if not pairs:
            return None
        shares = [m.rate / b.rate for m, b in pairs]
        return Figure(
            rate=statistics.median(m.rate for m in mine),
            share=statistics.median(shares),
            spread=(min(shares), max(shares)),
            p50=statistics.median(t for m in mine for t in m.latencies),
            p99=percentile((t for m in mine for t in m.latencies), 0.99),
            p50_ratio=statistics.median(
                statistics.median(m.latencies) / statistics.median(b.latencies) for m, b in pairs
            ),
            cpu=statistics.median(m.cpu for m, _ in pairs),
            cpu_ratio=statistics.median(m.cpu / b.cpu for m, b in pairs),
            front_cpu=statistics.median(m.front_cpu for m, _ in pairs),
            client_cpu=statistics.median(m.client_cpu for m, _ in pairs),
            failures=sum(len(m.failures) for m in mine),
            refused=sum(m.refused for m in mine),
        )


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that so large a part of them does not exceed; 0 without any."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0
