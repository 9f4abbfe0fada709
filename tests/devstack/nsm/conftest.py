"""A dev NSM whose clock the test holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import cbor2
import pytest

from devstack.nsm import DevNsm, DevRoot
from tests.vectors.forge import MODULE_ID, ROOT, pcr

ROLE = "arn:aws:iam::111122223333:role/blindgate-parent"
IMAGE = {0: pcr("0"), 1: pcr("1"), 2: pcr("2")}


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime(2026, 6, 1, 12, 0, 0, 250_000, UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


Call = Callable[[object], object]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root() -> DevRoot:
    return ROOT


@pytest.fixture
def nsm(root: DevRoot, clock: Clock) -> DevNsm:
    return DevNsm(root, MODULE_ID, IMAGE, role_arn=ROLE, clock=clock)


@pytest.fixture
def call(nsm: DevNsm) -> Call:
    return lambda request: cbor2.loads(nsm.handle(cbor2.dumps(request)))
