"""Runs all checks concurrently; one that hangs or has a bug leaves the others alone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from blindgate.errors import BlindgateError
from gateway.doctor.checks import Check
from gateway.doctor.host import Host
from gateway.doctor.result import Result, failed, unknown
from gateway.doctor.setup import Setup

#: Seconds for one check: three calls of five seconds each, and a margin.
CHECK_SECONDS: Final = 20.0

#: Called with the names of the checks that have not ended.
Progress = Callable[[Sequence[str]], None]


def examine(
    host: Host,
    setup: Setup,
    checks: Sequence[Check],
    *,
    seconds: float = CHECK_SECONDS,
    progress: Progress | None = None,
) -> dict[str, Result]:
    """Run the checks and wait for at most `seconds`.

    Args:
        host: The machine.
        setup: What is installed there.
        checks: What to look at.
        seconds: For each check; they run at the same time, so also for all.
        progress: Called at the beginning and after each check.

    Returns:
        The results by name, in the order of the checks.
    """
    ended: queue.SimpleQueue[tuple[str, Result]] = queue.SimpleQueue()

    def run(check: Check) -> None:
        ended.put((check.name, _result(check, host, setup)))

    for check in checks:
        # Daemons: a check that hangs must not keep the process from ending.
        threading.Thread(target=run, args=(check,), name=check.name, daemon=True).start()
    found: dict[str, Result] = {}
    ends = time.monotonic() + seconds
    while waiting := [each.name for each in checks if each.name not in found]:
        if progress is not None:
            progress(waiting)
        try:
            name, result = ended.get(timeout=max(ends - time.monotonic(), 0.0))
        except queue.Empty:
            for name in waiting:
                found[name] = failed(
                    f"it did not end within {seconds:.0f} seconds",
                    "the machine is very busy, or something does not answer: run it again with a "
                    "larger --timeout",
                )
            break
        found[name] = result
    return {check.name: found[check.name] for check in checks}


def _result(check: Check, host: Host, setup: Setup) -> Result:
    try:
        return check.examine(host, setup)
    except (OSError, BlindgateError) as error:
        return unknown(f"looking failed: {error}", "run it as root")
    except Exception as error:  # noqa: BLE001 - a bug in one check must not hide the others
        return unknown(
            f"this check has a bug: {type(error).__name__}", "report it: blindgate doctor --report"
        )
