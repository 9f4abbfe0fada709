"""What the caches are worth is measured on answers that are right."""

from __future__ import annotations

import pytest

from bench import cold
from bench.load import jobs


def test_each_amount_of_memory_is_measured() -> None:
    found = dict(cold.measure("300 KB", rounds=1))
    assert list(found) == list(cold._MEGABYTES)
    assert min(found.values()) > 0


def test_a_request_that_is_not_answered_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "formatdate", lambda **_: "yesterday")
    with pytest.raises(RuntimeError, match="not answered"):
        list(cold.measure("300 KB", rounds=1))
