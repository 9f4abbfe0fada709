"""`python -m bench.overload [--seconds 60]`: too many requests, and what became of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.overload.report import bars, write
from bench.overload.run import run

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def main() -> None:
    """Read the flags, measure, write; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--times", type=float, default=4.0, help="how many times the capacity")
    parser.add_argument("--output", type=Path, default=_PAGE, help="page that gets the section")
    given = parser.parse_args()
    found = run(given.times, given.seconds, lambda step: print(step, file=sys.stderr))
    print(write(found, given.output))
    raise SystemExit(0 if all(holds for *_, holds in bars(found)) else 1)


if __name__ == "__main__":
    main()
