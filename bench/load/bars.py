"""What is asked of Blindgate, and whether the measurement shows it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from bench.load.results import Cell, Results
from bench.load.suite import FEW, MANY, Findings
from bench.load.targets import ENVELOPE, SEALED

#: Gateway and worker together, in bytes.
_MEMORY: Final = 350e6


def verdicts(findings: Findings) -> list[list[str]]:
    """One row for each bar that was measured: what, bar, measured, met or missed."""
    return [
        [what, f"{'≥' if up else '≤'} {bar:g}", f"{value:.3f}".rstrip("0").rstrip("."), _word(met)]
        for what, bar, value, up in _bars(findings)
        for met in [value >= bar if up else value <= bar]
    ]


def _bars(findings: Findings) -> Iterator[tuple[str, float, float, bool]]:
    results = findings.results
    for cell in results.cells():
        figure = results.figure(cell, SEALED)
        if figure is None:
            continue
        at = f"{cell.photo}, {cell.concurrency} concurrent"
        if cell.concurrency == 1:
            yield f"sealed p50, of the loop's own; {at}", 1.10, figure.p50_ratio, False
        else:
            bar = 0.95 if cell.photo == "300 KB" else 0.92
            yield f"sealed throughput, of the bare loop; {at}", bar, figure.share, True
            yield f"sealed CPU per request, of the bare loop; {at}", 1.06, figure.cpu_ratio, False
        if (envelope := results.figure(cell, ENVELOPE)) is not None:
            yield (
                f"sealed throughput, of envelopes'; {at}",
                0.98,
                figure.share / envelope.share,
                True,
            )
        yield from _ahead(results, cell, at)
    for cell in findings.separate.cells():
        at = f"{cell.photo}, {cell.concurrency} concurrent, separate cores"
        yield from _ahead(findings.separate, cell, at)
    if (overload := findings.overload) is not None:
        yield f"goodput at {MANY} concurrent, of that at {FEW}", 0.95, overload.goodput(MANY), True
        if overload.refusals:
            yield "refusals, p99 in ms", 25, overload.refusal_p99 * 1000, False
    if SEALED in findings.memory:
        for photo, held in findings.memory[SEALED].items():
            whole = statistics.median(held)
            yield f"gateway and worker after {photo} photos, MB", _MEMORY / 1e6, whole / 1e6, False


def _ahead(results: Results, cell: Cell, at: str) -> Iterator[tuple[str, float, float, bool]]:
    """Sealed by the best server that is not confidential."""
    ours = results.figure(cell, SEALED)
    peers = [
        figure
        for name in results.targets()
        if not name.startswith("Blindgate") and (figure := results.figure(cell, name)) is not None
    ]
    if ours is not None and peers:
        share = ours.share / max(peer.share for peer in peers)
        yield f"sealed throughput, of the best peer's; {at}", 1.0, share, True
        if cell.concurrency == FEW:
            p99 = ours.p99 / min(peer.p99 for peer in peers)
            yield f"sealed p99, of the best peer's; {at}", 1.0, p99, False


def _word(met: bool) -> str:
    return "met" if met else "**missed**"
