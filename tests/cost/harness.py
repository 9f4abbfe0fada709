"""Measures what one parser costs for one input, in a process with a memory limit.

A module of cases is a module of `tests.cost` with a list `CASES`. `measure(module)` imports it in
one child process (so that every import is paid before anything is measured), which forks once
more for each case and size:

- the input is written to a file first, so that making it costs the measured process nothing;
- the address space is limited to what the process has, the input, and what the case allows:
  a parser that takes far more dies there, and the test says so;
- peak memory is the kernel's own high-water mark (`VmHWM`), which counts C and Rust as well;
- time is CPU time, the shortest of three runs. Other work on the machine can still double it, so
  a case that seems not linear is measured again, both sizes by turns: whatever is added by others
  differs each time, and a quadratic parser fails every time.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
#: What a process takes whatever the size of its input: arenas, tables, stacks.
SLACK_BYTES: Final = 2 * 1024 * 1024
#: Reserved and never touched: malloc's arenas for threads take 64 MiB of addresses each.
ADDRESS_SLACK_BYTES: Final = 256 * 1024 * 1024
#: Twice the input may take this much more CPU time. A quadratic parser needs four times as much.
GROWTH: Final = 3.0
#: CPU seconds below which differences mean nothing.
SLACK_SECONDS: Final = 0.1
#: CPU seconds after which the kernel ends a measured process.
CPU_LIMIT: Final = 20
#: Seconds after which it is ended whatever it does: a bound against hangs.
WALL_LIMIT: Final = 60
_RUNS: Final = 3
#: How often a case that seems not linear is measured.
_ATTEMPTS: Final = 6

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One parser and one kind of input that is hard for it.

    Attributes:
        name: Names the parser and the input.
        make: Makes an input of about so many bytes.
        parse: Gives it to the parser, as the product does.
        times: Peak memory above the input's own may be so many times the input.
        size: Bytes of the smaller of the two inputs.
        refuses: The parser's own errors; anything else fails the test.
    """

    name: str
    make: Callable[[int], bytes]
    parse: Callable[[bytes], object]
    times: float
    size: int = 2 * 1024 * 1024
    refuses: tuple[type[Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one input cost.

    Attributes:
        size: Its bytes.
        peak: Bytes of memory above those before, the input not counted.
        seconds: CPU time.
        failure: What went wrong, if anything did.
    """

    size: int
    peak: int
    seconds: float
    failure: str | None = None


def measure(module: str) -> dict[str, list[Cost]]:
    """Measure every case of a module, each at its size and at twice that.

    Args:
        module: Its name below `tests.cost`.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.cost.harness", module],
        cwd=ROOT,
        # One allocator for all: what a freed block leaves behind is not the parser's.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: [Cost(**cost) for cost in costs] for name, costs in found.items()}


def check(case: Case, costs: list[Cost]) -> None:
    """Fail unless a case costs what it may."""
    for cost in costs:
        assert cost.failure is None, f"{case.name}: {cost.failure} ({cost.size} bytes)"
        allowed = case.times * cost.size + SLACK_BYTES
        assert cost.peak <= allowed, (
            f"{case.name}: {cost.peak} bytes for an input of {cost.size}, "
            f"{cost.peak / cost.size:.1f} times; {case.times} times are allowed"
        )
    small, large = costs
    assert _is_linear(costs), (
        f"{case.name}: {small.seconds:.3f} s for {small.size} bytes, "
        f"{large.seconds:.3f} s for {large.size}: not linear"
    )


def _is_linear(costs: list[Cost]) -> bool:
    small, large = costs
    ratio = large.size / small.size / 2
    return large.seconds <= GROWTH * ratio * small.seconds + SLACK_SECONDS


def _measure_all(cases: Iterable[Case]) -> dict[str, list[Cost]]:
    return {case.name: until_linear(case) for case in cases}


def until_linear(case: Case) -> list[Cost]:
    """Measure a case at its size and at twice that, again while its time seems not linear."""
    for _ in range(_ATTEMPTS):
        costs = [in_child(case, case.size * n) for n in (1, 2)]
        if any(cost.failure for cost in costs) or _is_linear(costs):
            break
    return costs


def in_child(case: Case, size: int) -> Cost:
    """Measure one input of about `size` bytes in a forked process."""
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder, "given"), Path(folder, "result")
        _forked(lambda: given.write_bytes(case.make(size)))
        length = given.stat().st_size
        status = _forked(lambda: result.write_text(json.dumps(_run(case, given))))
        if status != 0:
            failure = (
                f"ended by signal {os.WTERMSIG(status)}"
                if os.WIFSIGNALED(status)
                else "ended with an error"
            )
            return Cost(length, 0, 0.0, failure)
        peak, seconds, failure_or_none = json.loads(result.read_text())
        return Cost(length, peak, seconds, failure_or_none)


def _forked(work: Callable[[], object]) -> int:
    """Do something in a child process; the status that `wait` gives."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - this process ends here, whatever it was
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _run(case: Case, given: Path) -> tuple[int, float, str | None]:
    with contextlib.suppress(Exception):  # a page of a library that is first used here counts too
        case.parse(case.make(4096))
    data = given.read_bytes()
    gc.collect()
    # By the alarm's default action; a process without memory may also sleep and never wake.
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    signal.alarm(WALL_LIMIT)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is what there is now
    before = _status("VmHWM")
    most = _status("VmSize") + int(case.times * len(data)) + ADDRESS_SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    peak = 0
    times = []
    failure: str | None = None
    for number in range(_RUNS):
        started = time.process_time()
        try:
            case.parse(data)
        except case.refuses:
            pass
        except Exception as error:  # noqa: BLE001 - it is what the test reports
            failure = f"{type(error).__name__}: {str(error)[:200]}"
        times.append(time.process_time() - started)
        if number == 0:
            peak = _status("VmHWM") - before
    return peak, min(times), failure


def _status(name: str) -> int:
    """A number of bytes out of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}")


def _main(module: str) -> None:
    cases = importlib.import_module(f"tests.cost.{module}").CASES
    for case in cases:  # what is imported or cached at first use is not the input's
        with contextlib.suppress(Exception):
            case.parse(case.make(4096))
    found = _measure_all(cases)
    print(json.dumps({name: [asdict(cost) for cost in costs] for name, costs in found.items()}))


if __name__ == "__main__":
    _main(sys.argv[1])
