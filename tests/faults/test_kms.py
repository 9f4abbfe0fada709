"""KMS is down, slow, or throttles; the way to it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from blindgate.detections import Detections
from tests.faults.proxies import Kms
from tests.faults.rig import Rig
from tests.faults.traffic import OK, Ask, opened, sealed, told, traffic, until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("well")]

Figure = Callable[[str], None]
UNAVAILABLE = "kms-unavailable"


@pytest.fixture
def fresh(rig: Rig, photos: list[bytes], expected: list[Detections]) -> Callable[[float], Ask]:
    """Requests whose envelope has a data key that the worker does not know yet."""

    def make(timeout: float) -> Ask:
        envelope = rig.envelope(photos[0])
        return opened(rig.running.gateway, lambda: envelope, expected[0], timeout)

    return make


@pytest.fixture
def needs_no_kms(rig: Rig, photos: list[bytes], expected: list[Detections]) -> Iterator[list[Ask]]:
    """A sealed request, and an envelope whose data key the worker has already."""
    known = rig.envelope(photos[0])
    cached = opened(rig.running.gateway, lambda: known, expected[0], 5)
    assert told(cached).outcome == OK
    with rig.client() as client:
        yield [cached, sealed(client, photos[1], expected[1])]


def test_kms_down(
    rig: Rig, fresh: Callable[[float], Ask], needs_no_kms: list[Ask], figure: Figure
) -> None:
    ask = fresh(10)
    with rig.stack.kms_faults.doing(Kms.DOWN):
        refused = told(ask)
        assert refused.outcome == UNAVAILABLE
        assert refused.seconds < 5
        assert [told(one).outcome for one in needs_no_kms] == [OK, OK]
    recovered = until(lambda: told(ask).outcome == OK, 60, "recovery")
    figure(f"refused after {refused.seconds:.2f} s; recovered in {recovered:.2f} s")


def test_slow_kms_costs_nobody_else_their_answer(
    rig: Rig, fresh: Callable[[float], Ask], needs_no_kms: list[Ask], figure: Figure
) -> None:
    slow = [fresh(1.0) for _ in range(12)]
    with rig.stack.kms_faults.doing(Kms.SLOW), ThreadPoolExecutor(len(slow)) as pool:
        waiting = [pool.submit(told, ask) for ask in slow]
        with traffic(needs_no_kms) as seen:
            answers = [one.result() for one in waiting]
            until(lambda: len(seen.all) > 10, 60, "requests that need no KMS")
        assert {one.outcome for one in answers} <= {"deadline-exceeded", UNAVAILABLE}
        assert max(one.seconds for one in answers) < 15, "KMS takes 20 s"
        assert set(seen.outcomes()) == {OK}
        assert seen.wrong() == 0
        # The slow ones hold no connection that these need; two cores are all that they share.
        assert seen.slowest() < 15
    recovered = until(lambda: told(slow[0]).outcome == OK, 60, "recovery")
    figure(
        f"12 waited at most {max(one.seconds for one in answers):.2f} s (deadline 1 s), meanwhile "
        f"{seen.outcomes()[OK]} others answered, slowest {seen.slowest():.2f} s; recovered in "
        f"{recovered:.2f} s"
    )


def test_throttling_kms(rig: Rig, fresh: Callable[[float], Ask], figure: Figure) -> None:
    ask = fresh(10)
    faults = rig.stack.kms_faults
    before = faults.calls
    with faults.doing(Kms.THROTTLING):
        refused = told(ask)
        assert refused.outcome == UNAVAILABLE
        assert refused.seconds < 5
    tries = faults.calls - before
    recovered = until(lambda: told(ask).outcome == OK, 60, "recovery")
    figure(f"refused after {tries} tries in {refused.seconds:.2f} s; back in {recovered:.2f} s")


def test_vsock_proxy_gone(
    rig: Rig, fresh: Callable[[float], Ask], needs_no_kms: list[Ask], figure: Figure
) -> None:
    ask = fresh(10)
    rig.kill("vsock-proxy")
    refused = told(ask)
    assert refused.outcome == UNAVAILABLE
    assert refused.seconds < 5
    assert [told(one).outcome for one in needs_no_kms] == [OK, OK]
    rig.restart("vsock-proxy")
    recovered = until(lambda: told(ask).outcome == OK, 60, "recovery")
    figure(f"refused after {refused.seconds:.2f} s; recovered in {recovered:.2f} s")
