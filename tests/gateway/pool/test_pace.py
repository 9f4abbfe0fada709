"""How fast an enclave is under load, and nothing else, is what is measured."""

from __future__ import annotations

import pytest

from gateway.pool.service_rate import MEMORY, Pace, time_for


def work(pace: Pace, interval: float, count: int = MEMORY, start: float = 0.0) -> float:
    """Completions of an enclave that always has enough to do; returns when the last one came."""
    pace.given(start, loaded=True)
    for number in range(1, count + 1):
        pace.returned(start + number * interval, completed=True, loaded=True)
    return start + count * interval


def test_nothing_is_known_before_some_tens_of_completions() -> None:
    pace = Pace()
    end = work(pace, 0.1, MEMORY - 1)
    assert pace.interval is None
    pace.returned(end + 0.1, completed=True, loaded=True)
    assert pace.interval == pytest.approx(0.1)


@pytest.mark.parametrize("after", [0.02, 0.5])
def test_a_change_of_pace_is_noticed(after: float) -> None:
    pace = Pace()
    work(pace, after, 5 * MEMORY, work(pace, 0.1))
    assert pace.interval == pytest.approx(after, rel=0.05)


def test_idle_time_is_not_slow_service() -> None:
    pace = Pace()
    for number in range(MEMORY):
        pace.given(1000 * number, loaded=True)
        pace.returned(1000 * number + 0.1, completed=True, loaded=False)
    assert pace.interval == pytest.approx(0.1)


def test_a_trickle_of_requests_says_nothing() -> None:
    pace = Pace()
    for number in range(2 * MEMORY):
        pace.given(number, loaded=False)
        pace.returned(number + 0.5, completed=True, loaded=False)
    assert pace.interval is None


def test_refusals_and_given_up_requests_are_no_completions() -> None:
    pace = Pace()
    pace.given(0, loaded=True)
    for number in range(1, 4 * MEMORY + 1):
        pace.returned(number / 4, completed=number % 4 == 0, loaded=True)
    assert pace.interval == pytest.approx(1), "the time without a completion counts"


def test_time_without_a_completion_is_dropped_with_the_load() -> None:
    pace = Pace()
    pace.given(0, loaded=True)
    pace.returned(60, completed=False, loaded=False)
    work(pace, 0.1, start=100)
    assert pace.interval == pytest.approx(0.1)


def test_one_hiccup_at_most_doubles_the_estimate() -> None:
    pace = Pace()
    end = work(pace, 0.1)
    pace.returned(end + 3600, completed=True, loaded=True)
    assert pace.interval is not None
    assert 0.1 < pace.interval <= 0.2


def test_completions_that_no_time_lies_between_are_no_estimate() -> None:
    pace = Pace()
    end = work(pace, 0.0)
    assert pace.interval is None
    work(pace, 0.1, 8 * MEMORY, end)
    assert pace.interval == pytest.approx(0.1, rel=0.05)


def test_the_margin_covers_scatter_and_the_error_of_the_estimate() -> None:
    assert time_for(1, rate=10) == pytest.approx(0.335, abs=0.001)
    assert time_for(100, rate=10) == pytest.approx(13.75, abs=0.01)
    assert time_for(10_000, rate=10) == pytest.approx(1295, abs=1), "the error stays a share"


def test_the_pace_shows_in_its_representation() -> None:
    pace = Pace()
    assert repr(pace) == "<Pace unknown, 0 samples>"
    work(pace, 0.25)
    assert repr(pace) == f"<Pace 250 ms, {MEMORY} samples>"
