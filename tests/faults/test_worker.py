"""The worker dies, freezes, or is cut off without anybody being told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from blindgate.detections import Detections
from tests.faults.rig import Rig
from tests.faults.traffic import OK, Ask, opened, sealed, told, traffic, until

pytestmark = pytest.mark.e2e

Figure = Callable[[str], None]
UNAVAILABLE = {"enclave-unavailable"}


@contextmanager
def four_clients(
    rig: Rig, photos: list[bytes], expected: list[Detections], url: str = "", *pcrs: Path
) -> Iterator[list[Ask]]:
    """Sealed requests of a client each, with the one photo or the other."""
    with ExitStack() as closing:
        clients = [closing.enter_context(rig.client(url, *pcrs)) for _ in range(4)]
        yield [sealed(c, photos[i % 2], expected[i % 2]) for i, c in enumerate(clients)]


@pytest.mark.usefixtures("well")
def test_worker_killed_under_load_and_started_again(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    with four_clients(rig, photos, expected) as asks, traffic(asks) as seen:
        until(lambda: seen.outcomes()[OK] > 10, 60, "traffic")
        rig.kill("worker")
        killed = time.monotonic()
        until(lambda: seen.outcomes()["enclave-unavailable"] > 4, 60, "refusals")
        time.sleep(0.5)
        rig.restart("worker")
        ready = time.monotonic()
        until(lambda: seen.first_ok_after(ready) is not None, 60, "recovery")
        again = seen.first_ok_after(ready)
    outcomes = seen.outcomes()
    assert set(outcomes) <= {OK, *UNAVAILABLE}
    assert seen.wrong() == 0
    assert seen.slowest() < 15
    figure(
        f"{dict(outcomes)}, slowest {seen.slowest():.2f} s, first answer {again:.2f} s after the "
        f"worker was back, {ready - killed:.2f} s after the kill"
    )


@pytest.mark.usefixtures("well")
def test_frozen_worker_costs_the_deadline_and_then_nothing(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    content = rig.envelope(photos[0])
    ask = opened(rig.running.gateway, lambda: content, expected[0], 1)
    with rig.frozen("worker"):
        first = told(ask)
        assert first.outcome in {"deadline-exceeded", *UNAVAILABLE}
        assert first.seconds < 15
        noticed = until(lambda: told(ask).outcome in UNAVAILABLE, 60, "the pool takes it out")
        # With time to wait in, so that a refusal at the deadline would show.
        refused = told(opened(rig.running.gateway, lambda: content, expected[0], 18))
        assert refused.outcome in UNAVAILABLE
        assert refused.seconds < 9
    recovered = until(lambda: told(ask).outcome == OK, 60, "recovery")
    figure(
        f"first request {first.outcome} after {first.seconds:.2f} s (deadline 1 s), out after "
        f"{noticed:.2f} s, then refused in {refused.seconds * 1000:.0f} ms, back "
        f"{recovered:.2f} s after it ran on"
    )


@pytest.mark.usefixtures("well")
def test_connections_that_are_dead_on_the_other_side_are_replaced(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    content = rig.envelope(photos[0])
    with rig.link_faults() as (link, address), rig.further_gateway([address]) as gateway:
        ask = opened(gateway.url, lambda: content, expected[0], 1)
        assert told(ask).outcome == OK
        link.lose_connections()
        outcomes = []

        def works() -> bool:
            outcomes.append(told(ask))
            return outcomes[-1].outcome == OK

        recovered = until(works, 60, "new connections are made")
        assert {one.outcome for one in outcomes} <= {OK, "deadline-exceeded", *UNAVAILABLE}
        assert max(one.seconds for one in outcomes) < 2.5
    figure(f"{[one.outcome for one in outcomes]}, recovered after {recovered:.2f} s")


@pytest.mark.usefixtures("well")
def test_enclave_with_other_measurements_gets_nothing(
    rig: Rig, photos: list[bytes], expected: list[Detections], figure: Figure
) -> None:
    with (
        rig.further_worker("second") as second,
        rig.further_worker("wrong", measured=False),
    ):
        sockets = [rig.places.socket(n) for n in ("worker", "second-worker", "wrong-worker")]
        pcrs = [rig.places.pcrs, second]
        with rig.further_gateway(sockets, pcrs=pcrs) as gateway:
            ready = httpx.get(gateway.url + "/readyz", trust_env=False)

            def states() -> dict[str, int]:
                answer = httpx.get(gateway.url + "/readyz", trust_env=False).json()
                found: dict[str, int] = answer["enclaves"]
                return found

            until(lambda: states().get("ready") == 2, 60, "two enclaves are ready")
            with (
                four_clients(rig, photos, expected, gateway.url, *pcrs) as asks,
                traffic(asks) as seen,
            ):
                until(lambda: len(seen.all) >= 60, 60, "traffic")
            assert ready.status_code == 200
            assert set(seen.outcomes()) == {OK}
            assert seen.wrong() == 0
            assert states().get("ready") == 2
            figure(f"{dict(seen.outcomes())}; enclaves: {states()}")
