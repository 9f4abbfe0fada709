"""`docs/performance.md` and its pictures, from what was measured."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.load.bars import verdicts
from bench.load.plot import Bars
from bench.load.results import BATCHED, LIMIT, Figure, Results
from bench.load.suite import CROWD, FEW, MANY, Findings, Plan
from bench.overload.marks import kept
from enclave_app.scheduling.cores import usable_cores

_FOLDER: Final = "performance"
_INTRO: Final = """# Performance

Written by `make bench` (`python -m bench.load`); do not edit. Everything runs on one machine at
one time: clients, servers and whatever stands in for AWS share its cores. So the figures to look
at are ratios to the **bare loop**: the same detector, called for one photo after the other in a
loop on every core (on one core, for 1 concurrent), in a process that does nothing else. The
gap to 1.00 is the cost of receiving, opening, sealing and answering (including the load
generator), minus what the worker saves: it runs queued photos through the network in batches, and
a single photo on all cores. The rows of the loop "in batches" show what batching alone saves.

Each cell is measured in several rounds, all servers in turn and in a new order within each
round; ratios are taken within a round, and their median is given. Each round restarts every
process, including the loop, because memory placement varies from start to start. Every response is
compared with what the detector says of the photo; a wrong one would count as a failure. Sealed
requests are sealed before the clock starts, each with its own key. A request that is refused (503)
is sent again when Retry-After says, and counts once it is answered.

Where the time goes, and what was tried: [performance/profile.md](performance/profile.md).
"""
_PEERS: Final = """
The other servers run the same detector (same code, same model, same version of onnxruntime) and
are **not confidential**: they see the photo. They are set up in `bench/peers/` as their own
documentation recommends for a CPU model, with one worker or thread a core.
"""
_SEPARATE: Final = """
## Gateway and worker on separate cores

On an instance the gateway has cores that the enclave does not. Here the load generator and the
gateway run on one core; the worker, the bare loop, and the whole of each other server run on the
others.
"""


def write_report(findings: Findings, plan: Plan, seconds: float, folder: Path) -> str:
    """Write the page and the pictures; returns the page."""
    pictures = folder / _FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_INTRO, _machine(findings, plan, seconds)]
    if rows := verdicts(findings):
        parts.append("## Bars\n\n" + _table(["what", "bar", "measured", ""], rows))
    names = _plots(findings.results, pictures)
    parts.append("## Throughput, latency, CPU\n")
    parts += [f"![{title}]({_FOLDER}/{name})\n" for title, name in names]
    for photo in dict.fromkeys(cell.photo for cell in findings.results.cells()):
        file = findings.photos[photo]
        size = f"{file.width} x {file.height} pixels, {len(file.data):,} bytes"
        parts.append(f"### A photo of {photo} ({size})\n")
        parts.append(_figures(findings.results, photo))
    if plan.peers:
        parts.append(_PEERS)
    parts += [
        f"- {name} did not start in every round; in one that it missed: `{_last(why)}`"
        for name, why in findings.missing.items()
    ]
    if findings.separate.samples:
        parts.append(_SEPARATE)
        for photo in dict.fromkeys(cell.photo for cell in findings.separate.cells()):
            parts.append(_figures(findings.separate, photo))
    if findings.fp32.samples:
        parts.append("\n## The model in full precision\n")
        parts.append(_figures(findings.fp32, findings.fp32.cells()[0].photo))
    parts.append(
        "\n## Memory\n\nResident memory after each round, summed over processes; the median.\n"
    )
    sizes = list(dict.fromkeys(cell.photo for cell in findings.results.cells()))
    rows = [
        [
            name,
            *(
                f"{statistics.median(held[size]) / 1e6:.0f} MB" if size in held else ""
                for size in sizes
            ),
        ]
        for name, held in findings.memory.items()
    ]
    parts.append(_table(["", *(f"{size} photos" for size in sizes)], rows))
    if (overload := findings.overload) is not None:
        parts.append("\n## More clients than places\n")
        parts.append(
            f"{MANY} clients begin at once and fill the queue; {CROWD} come within two seconds, "
            "and those who are refused come back when Retry-After says.\n"
        )
        parts.append(
            _table(
                ["", ""],
                [
                    [
                        f"goodput at {MANY} concurrent, of that at {FEW}",
                        f"{overload.goodput(MANY):.3f}",
                    ],
                    [
                        f"goodput at {CROWD} concurrent, of that at {FEW}",
                        f"{overload.goodput(CROWD):.3f}",
                    ],
                    [f"requests refused (503) at {CROWD}", str(len(overload.refusals))],
                    ["refusals, p99", f"{overload.refusal_p99 * 1000:.1f} ms"],
                    ["anything but right answers and refusals", str(len(overload.failures))],
                ],
            )
        )
    page = "\n".join(parts) + "\n"
    target = folder / "performance.md"
    # What `python -m bench.overload` has written there stays.
    if target.exists() and (section := kept(target.read_text())) is not None:
        page += "\n" + section
    target.write_text(page)
    return page


def _machine(findings: Findings, plan: Plan, seconds: float) -> str:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in info]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    loads = ", ".join(f"{load:.1f}" for load in findings.loads)
    rows = [
        ["processor", f"{usable_cores()} cores of {model[1] if model else '?'}"],
        ["instructions", ", ".join(flags)],
        ["memory", f"{memory:.0f} GiB"],
        ["system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"],
        ["onnxruntime", version("onnxruntime")],
        ["measured", f"{datetime.now(UTC):%d %B %Y}, {plan.rounds} rounds, {seconds / 60:.0f} min"],
        ["load average before each round", loads],
    ]
    return _table(["", ""], rows)


def _figures(results: Results, photo: str) -> str:
    head = ["", "concurrent", "images/s", "of the bare loop", "p50", "p99", "p50, ratio"]
    head += ["CPU/request", "of it gateway", "CPU, ratio", "client's CPU", "refused", "wrong"]
    return _table(head, list(_rows(results, photo)))


def _rows(results: Results, photo: str) -> Iterator[list[str]]:
    for cell in results.cells():
        if cell.photo != photo:
            continue
        for name in [LIMIT, BATCHED, *results.targets()]:
            if (figure := results.figure(cell, name)) is not None:
                yield [name, str(cell.concurrency), *_cells(name, figure)]


def _cells(name: str, figure: Figure) -> list[str]:
    least, most = figure.spread
    ours = name.startswith("Blindgate")
    return [
        f"{figure.rate:.1f}",
        f"**{figure.share:.3f}** ({least:.2f} to {most:.2f})",
        f"{figure.p50 * 1000:.1f} ms",
        f"{figure.p99 * 1000:.1f} ms",
        f"{figure.p50_ratio:.2f}",
        f"{figure.cpu * 1000:.1f} ms",
        f"{figure.front_cpu * 1000:.1f} ms" if ours else "",
        f"{figure.cpu_ratio:.3f}",
        "" if name in (LIMIT, BATCHED) else f"{figure.client_cpu * 1000:.2f} ms",
        str(figure.refused),
        str(figure.failures),
    ]


def _plots(results: Results, folder: Path) -> list[tuple[str, str]]:
    cells, written = results.cells(), []
    groups = [f"{cell.photo}, {cell.concurrency} at once" for cell in cells]
    for name, title in (
        ("throughput", "Throughput, of the bare loop (higher is better)"),
        ("cpu", "CPU per request, of the bare loop (lower is better)"),
    ):
        series = {
            target: [_value(results.figure(cell, target), name) for cell in cells]
            for target in results.targets()
        }
        (folder / f"{name}.svg").write_text(Bars(title, groups, series).svg())
        written.append((title, f"{name}.svg"))
    return written


def _value(figure: Figure | None, name: str) -> float | None:
    if figure is None:
        return None
    return figure.share if name == "throughput" else figure.cpu_ratio


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"
