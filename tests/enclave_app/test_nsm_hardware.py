"""The checks of the machine at start."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from enclave_app.nsm import HardwareCheckFailed, check_hardware
from enclave_app.nsm.hardware import CLOCK_SOURCES


def _machine(root: Path, rng: str | None = "nsm-hwrng", clock: str | None = "kvm-clock") -> Path:
    for path, content in (
        ("sys/class/misc/hw_random/rng_current", rng),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", clock),
    ):
        if content is not None:
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(content + "\n")
    return root


@pytest.mark.parametrize("machine", sorted(CLOCK_SOURCES))
def test_a_nitro_enclave_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    check_hardware(_machine(tmp_path, clock=CLOCK_SOURCES[machine]))


@pytest.mark.parametrize("rng", ["virtio_rng.0", "", "none", None])
def test_another_generator_is_named(tmp_path: Path, rng: str | None) -> None:
    with pytest.raises(HardwareCheckFailed, match="random number generator") as failed:
        check_hardware(_machine(tmp_path, rng=rng))
    assert failed.value.check == "rng"


@pytest.mark.parametrize("clock", ["tsc", "hpet", "", None])
def test_another_clock_is_named(tmp_path: Path, clock: str | None) -> None:
    with pytest.raises(HardwareCheckFailed, match="clock source") as failed:
        check_hardware(_machine(tmp_path, clock=clock))
    assert failed.value.check == "clock"


def test_an_unknown_machine_has_no_clock_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(HardwareCheckFailed, match="known for this machine"):
        check_hardware(_machine(tmp_path))


def test_an_emulated_enclave_names_its_own_clock(tmp_path: Path) -> None:
    check_hardware(_machine(tmp_path, clock="tsc"), clock_sources={"tsc"})
