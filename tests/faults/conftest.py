"""One rig for all faults; each leaves it as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from blindgate.detections import Detections
from devstack.model import obtain
from tests.faults.rig import Rig
from tests.faults.traffic import OK, opened, sealed, told, until

_figures: list[str] = []


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Dev KMS, a proxy before it that fails on demand, NSM, vsock-proxy, worker, gateway."""
    with tempfile.TemporaryDirectory(prefix="bg-") as folder:
        rig = Rig(Path(folder) / "s", obtain())
        try:
            rig.start()
            yield rig
        finally:
            rig.stop()


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Two pictures whose answers differ (scikit-image, CC0)."""
    folder = Path(str(files("skimage"))) / "data"
    return [(folder / name).read_bytes() for name in ("coffee.png", "rocket.jpg")]


@pytest.fixture(scope="session")
def expected(rig: Rig, photos: list[bytes]) -> list[Detections]:
    """What the worker says of them when nothing is wrong."""
    with rig.client() as client:
        answers = [client.detect(photo) for photo in photos]
    assert answers[0].detections != answers[1].detections
    return answers


@pytest.fixture
def well(rig: Rig, photos: list[bytes], expected: list[Detections]) -> Iterator[None]:
    """Everything works before, and works again within seconds afterwards without a restart."""
    with rig.client() as client:
        first = opened(rig.running.gateway, lambda: rig.envelope(photos[0]), expected[0], 5)
        second = sealed(client, photos[1], expected[1])

        def works() -> bool:
            answers = told(first), told(second)
            assert all(one.right for one in answers)
            return all(one.outcome == OK for one in answers)

        until(works, 60, "the stack works before the fault")
        yield
        until(works, 60, "the stack works after the fault")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a figure at the end of the run."""
    name = request.node.name
    return lambda text: _figures.append(f"{name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures."""
    if _figures:
        terminalreporter.section("faults")
        for line in _figures:
            terminalreporter.line(line)
