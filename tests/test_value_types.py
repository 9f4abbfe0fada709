"""Public records are immutable: threads and connections share them without a lock."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

PACKAGES = (
    "blindgate.attestation",
    "blindgate.envelope",
    "blindgate.link",
    "blindgate.oip",
    "blindgate.sealing",
    "enclave_app",
)


def public_records(package: str) -> Iterator[type]:
    """The public dataclasses that the modules of a package define."""
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if dataclasses.is_dataclass(value) and not name.startswith("_"):
                yield value


@pytest.mark.parametrize("package", PACKAGES)
def test_public_records_are_immutable(package: str) -> None:
    records = list(public_records(package))
    assert records
    mutable = []
    for record in records:
        # No `__init__`: assigning to a frozen record is refused whatever it holds.
        try:
            setattr(object.__new__(record), dataclasses.fields(record)[0].name, None)
        except dataclasses.FrozenInstanceError:
            continue
        mutable.append(record.__qualname__)
    assert mutable == []
