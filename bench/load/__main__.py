"""`python -m bench.load [--quick]`: measure everything and write `docs/performance.md`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from bench.load.report import write_report
from bench.load.results import Cell
from bench.load.suite import Plan, run

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_FULL = tuple(Cell(photo, many) for photo in ("300 KB", "3 MB") for many in (1, 8, 64))
_QUICK = (Cell("300 KB", 1), Cell("300 KB", 8), Cell("300 KB", 64), Cell("3 MB", 8))


def main() -> None:
    """Read the flags, measure, write."""
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes, coarse figures")
    parser.add_argument("--rounds", type=int, help="how often each cell is measured")
    parser.add_argument("--seconds", type=float, help="about how long each time")
    parser.add_argument("--photo", choices=["300 KB", "3 MB"], help="only this one")
    parser.add_argument("--concurrency", type=int, action="append", help="only these")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-envelopes", action="store_true")
    parser.add_argument("--no-overload", action="store_true")
    parser.add_argument("--no-fp32", action="store_true")
    parser.add_argument("--no-separate", action="store_true", help="only all cores for everything")
    parser.add_argument("--output", type=Path, default=_DOCS, help="folder of performance.md")
    given = parser.parse_args()
    cells = _QUICK if given.quick else _FULL
    if given.photo or given.concurrency:
        cells = tuple(
            cell
            for cell in _FULL
            if given.photo in (None, cell.photo)
            and (given.concurrency is None or cell.concurrency in given.concurrency)
        )
    plan = Plan(
        rounds=given.rounds or (1 if given.quick else 5),
        seconds=given.seconds or (1.5 if given.quick else 3.0),
        cells=cells,
        envelopes=not given.no_envelopes,
        peers=not given.no_peers,
        fresh_keys=not given.quick,
        overload=not given.no_overload and not given.quick,
        fp32=not given.no_fp32 and not given.quick,
        separate=not given.no_separate and not given.quick,
    )
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    findings = run(plan, lambda step: print(step, file=sys.stderr))
    page = write_report(findings, plan, time.monotonic() - began, given.output)
    print(page)


if __name__ == "__main__":
    main()
