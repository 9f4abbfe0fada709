"""The section on overload in `docs/performance.md`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.overload.marks import insert
from bench.overload.run import DEADLINE, Overloaded

#: Bars of the product: see `bars`.
_GOODPUT: Final = 0.9
_GROWTH: Final = 1.1


def bars(found: Overloaded) -> list[tuple[str, str, str, bool]]:
    """What must be true: what, the bar, what was measured, and whether it holds."""
    verdict, ratio = found.verdict, found.goodput / found.capacity
    growth = flatness(found.memory)
    return [
        ("goodput, of the capacity", f">= {_GOODPUT:.2f}", f"{ratio:.3f}", ratio >= _GOODPUT),
        (
            "p99 of right answers",
            f"<= {DEADLINE:.0f} s, the deadline",
            f"{verdict.p99:.2f} s",
            verdict.p99 <= DEADLINE,
        ),
        ("other errors than refusals", "0", str(verdict.faults.total()), not verdict.faults),
        (
            "memory, last quarter by second quarter",
            f"<= {_GROWTH:.2f}",
            f"{growth:.3f}",
            growth <= _GROWTH,
        ),
    ]


def flatness(memory: tuple[int, ...]) -> float:
    """The median of the last quarter by that of the second one; 1 if there is too little."""
    quarter = len(memory) // 4
    if not quarter:
        return 1.0
    return statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter])


def section(found: Overloaded) -> str:
    """The section in Markdown."""
    verdict = found.verdict
    capacity = f"{found.before:.1f}, {found.after:.1f} images/s"
    sizes = (found.memory[0], statistics.median(found.memory), max(found.memory))
    rate = f"{verdict.right}, {found.goodput:.1f}/s; {verdict.late_right} after the end"
    rows = [
        ("capacity: 8 clients that wait, before and after", capacity),
        ("sent", f"{found.sent} requests, {found.sent / found.seconds:.1f}/s"),
        ("right answers", rate),
        ("p50, p99 of right answers", f"{verdict.p50:.2f} s, {verdict.p99:.2f} s"),
        *((f"refused: `{slug}`", str(count)) for slug, count in verdict.refused.most_common()),
        ("refusals for being too many, p99", f"{verdict.refusal_p99 * 1000:.0f} ms"),
        *((f"fault: {what}", str(count)) for what, count in verdict.faults.most_common(10)),
        (
            "memory of gateway and worker: first second, median, most",
            ", ".join(f"{size / 1e6:.0f}" for size in sizes) + " MB",
        ),
        ("CPU of the gateway per request", f"{found.cpu / found.sent * 1000:.2f} ms"),
        ("the first request afterwards", f"{found.recovery * 1000:.0f} ms"),
    ]
    held = [(*bar[:3], "holds" if bar[3] else "**missed**") for bar in bars(found)]
    return (
        f"## {found.times:g} times more requests than can be answered\n\n"
        f"For {found.seconds:.0f} s, requests with a 300 KB photo in an envelope (cached data key) "
        f"arrive at {found.times:g} times the capacity, whatever became of the earlier ones; "
        f"each must be answered within {DEADLINE:.0f} s. The load generator shares the machine's "
        "cores. Every answer is compared with the detector's own.\n\n"
        + _table(("what", "bar", "measured", ""), held)
        + "\n"
        + _table(("", ""), rows)
    )


def write(found: Overloaded, file: Path) -> str:
    """Write the section into a file; returns the section."""
    text = section(found)
    page = file.read_text() if file.exists() else "# Performance\n"
    file.write_text(insert(page, text))
    return text


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
