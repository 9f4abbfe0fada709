"""Checks run at the same time, and one that hangs ends by its timeout."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gateway.doctor.checks import Check
from gateway.doctor.examination import examine
from gateway.doctor.host import Host
from gateway.doctor.result import Outcome, Result, ok
from gateway.doctor.setup import Setup
from tests.gateway.doctor.fake_host import FakeHost


def test_checks_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(_: Host, __: Setup) -> Result:
        together.wait()
        return ok("met")

    checks = [Check(name, meet) for name in ("first", "second", "third")]
    found = examine(FakeHost(), Setup(), checks, seconds=20)
    assert [each.outcome for each in found.values()] == [Outcome.OK] * 3
    assert list(found) == ["first", "second", "third"]


def test_a_check_that_hangs_fails_and_the_others_do_not() -> None:
    forever = threading.Event()

    def hang(_: Host, __: Setup) -> Result:
        forever.wait(60)
        return ok("late")

    seen: list[Sequence[str]] = []
    checks = [Check("hangs", hang), Check("works", lambda _, __: ok("fine"))]
    try:
        found = examine(FakeHost(), Setup(), checks, seconds=0.5, progress=seen.append)
    finally:
        forever.set()
    assert found["works"].outcome is Outcome.OK
    assert found["hangs"].outcome is Outcome.FAILED
    assert "did not end within" in found["hangs"].seen
    assert "--timeout" in found["hangs"].fix
    assert seen[0] == ["hangs", "works"]
    assert seen[-1] == ["hangs"]


def test_a_bug_in_a_check_is_reported_as_one() -> None:
    def broken(_: Host, __: Setup) -> Result:
        raise ZeroDivisionError

    checks = [Check("broken", broken), Check("works", lambda _, __: ok("fine"))]
    found = examine(FakeHost(), Setup(), checks)
    assert found["broken"].outcome is Outcome.UNKNOWN
    assert "bug: ZeroDivisionError" in found["broken"].seen
    assert found["works"].outcome is Outcome.OK
