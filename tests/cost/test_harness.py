"""What the measurement of costs reports, with costs that are given instead of measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cost import harness
from tests.cost.harness import Case, Cost, check, until_linear

MIB = 1024 * 1024
CASE = Case("bytes", bytes, len, times=2, size=MIB)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
    """The costs that are given, in order; what was used of them is gone."""
    costs: list[Cost] = []
    monkeypatch.setattr(harness, "in_child", lambda case, size: costs.pop(0))
    return costs


def pairs(*seconds: tuple[float, float]) -> Iterator[Cost]:
    for small, large in seconds:
        yield Cost(MIB, 0, small)
        yield Cost(2 * MIB, 0, large)


def test_twice_the_input_may_take_three_times_as_long(measured: list[Cost]) -> None:
    measured += pairs((1.0, 3.09))
    check(CASE, until_linear(CASE))


def test_a_measurement_that_others_disturbed_is_repeated(measured: list[Cost]) -> None:
    measured += pairs((1.0, 4.0), (1.0, 3.5), (1.0, 2.0))
    check(CASE, until_linear(CASE))
    assert measured == []


def test_quadratic_time_fails_however_often_it_is_measured(measured: list[Cost]) -> None:
    measured += pairs(*[(1.0, 4.0)] * 6)
    with pytest.raises(AssertionError, match=r"1\.000 s for 1048576 bytes.*not linear"):
        check(CASE, until_linear(CASE))
    assert measured == []


def test_too_much_memory_fails(measured: list[Cost]) -> None:
    measured += [Cost(MIB, 4 * MIB, 0.0), Cost(2 * MIB, 6 * MIB + 1, 0.0)]
    with pytest.raises(AssertionError, match=r"3\.0 times; 2 times are allowed"):
        check(CASE, until_linear(CASE))


def test_an_error_of_the_parser_is_reported_and_not_measured_again(measured: list[Cost]) -> None:
    measured += [Cost(MIB, 0, 0.0), Cost(2 * MIB, 0, 9.0, "ended by signal 9")]
    with pytest.raises(AssertionError, match="ended by signal 9"):
        check(CASE, until_linear(CASE))


def test_a_parser_that_takes_too_much_is_stopped_and_named() -> None:
    hungry = Case("hungry", bytes, lambda data: bytes(len(data) * 1000), times=2, size=MIB)
    with pytest.raises(AssertionError, match="hungry: MemoryError"):
        check(hungry, until_linear(hungry))
