"""Every parser of foreign bytes costs at most a multiple of what it is given."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache

import pytest

from tests.cost.harness import Case, Cost, check, measure, needs_linux

MODULES = (
    "attestation_cases",
    "enclave_cases",
    "envelope_cases",
    "link_cases",
    "model_cases",
    "oip_cases",
    "operator_cases",
    "sealing_cases",
)

pytestmark = [needs_linux, pytest.mark.timeout(600)]


@cache
def costs_of(module: str) -> dict[str, list[Cost]]:
    return measure(module)


def _cases() -> Iterator[tuple[str, Case]]:
    for module in MODULES:
        for case in importlib.import_module(f"tests.cost.{module}").CASES:
            yield module, case


@pytest.mark.parametrize(
    ("module", "case"),
    [pytest.param(m, c, id=f"{m.removesuffix('_cases')}: {c.name}") for m, c in _cases()],
)
def test_a_parser_costs_at_most_a_multiple_of_its_input(module: str, case: Case) -> None:
    check(case, costs_of(module)[case.name])
