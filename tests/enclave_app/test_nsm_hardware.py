"""The checks of the machine at start."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from contextlib import nullcontext
from pathlib import Path

import pytest

from enclave_app.nsm import HardwareCheckFailed, check_hardware, seed_kernel
from enclave_app.nsm.hardware import CLOCK_SOURCES


def _machine(
    root: Path,
    rng: str | None = "nsm-hwrng",
    clock: str | None = "kvm-clock",
    kernel: str | None = "6.12.117+deb13-cloud-amd64",
) -> Path:
    for path, content in (
        ("proc/sys/kernel/osrelease", kernel),
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


@pytest.mark.parametrize(
    "kernel", ["4.14.256-209.484.amzn2.x86_64", "5.17.99", "5.9", "0.0", "six.12", "", None]
)
def test_an_older_or_unnamed_kernel_is_named(tmp_path: Path, kernel: str | None) -> None:
    with pytest.raises(HardwareCheckFailed, match=r"5\.18 or newer") as failed:
        check_hardware(_machine(tmp_path, kernel=kernel), clock_sources={"kvm-clock"})
    assert failed.value.check == "kernel"


@pytest.mark.parametrize("kernel", ["5.18.0", "5.100", "6.0-rc1", "10.1"])
def test_the_oldest_kernel_and_all_newer_ones_pass(tmp_path: Path, kernel: str) -> None:
    check_hardware(_machine(tmp_path, kernel=kernel), clock_sources={"kvm-clock"})


class Dripping:
    """An NSM that gives a few bytes of randomness at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given = b""

    def get_random(self) -> bytes:
        part = os.urandom(self.size)
        self.given += part
        return part


@pytest.mark.parametrize("size", [16, 64, 255, 256])
def test_the_kernel_gets_at_least_256_bytes_of_the_nsm(tmp_path: Path, size: int) -> None:
    nsm, pool = Dripping(size), tmp_path / "urandom"
    pool.touch()
    seed_kernel(nsm, pool)  # type: ignore[arg-type]  # the one method that is called
    assert pool.read_bytes() == nsm.given
    assert 256 <= len(nsm.given) < 256 + size


@pytest.mark.parametrize("size", [0, 1, 15])
def test_an_nsm_that_gives_next_to_nothing_stops_the_worker(tmp_path: Path, size: int) -> None:
    nsm, pool = Dripping(size), tmp_path / "urandom"
    pool.touch()
    with pytest.raises(HardwareCheckFailed, match="bytes of randomness") as failed:
        seed_kernel(nsm, pool)  # type: ignore[arg-type]
    assert failed.value.check == "rng"
    assert pool.read_bytes() == b""


def test_a_pool_that_takes_nothing_stops_the_worker(tmp_path: Path) -> None:
    with pytest.raises(HardwareCheckFailed, match="cannot be seeded"):
        seed_kernel(Dripping(256), tmp_path / "none" / "urandom")  # type: ignore[arg-type]


def test_a_reseeding_that_fails_for_another_reason_than_rights_stops_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "urandom"
    for number, passes in ((errno.EPERM, True), (errno.ENOTTY, True), (errno.EIO, False)):

        def fail(descriptor: int, request: int, number: int = number) -> None:
            assert request == 0x5207
            raise OSError(number, "no")

        monkeypatch.setattr(fcntl, "ioctl", fail)
        with nullcontext() if passes else pytest.raises(HardwareCheckFailed, match="seeded"):
            seed_kernel(Dripping(256), pool)  # type: ignore[arg-type]


def test_this_kernel_takes_a_seed() -> None:
    seed_kernel(Dripping(256))  # type: ignore[arg-type]


def test_an_unknown_machine_has_no_clock_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(HardwareCheckFailed, match="known for this machine"):
        check_hardware(_machine(tmp_path))


def test_an_emulated_enclave_names_its_own_clock(tmp_path: Path) -> None:
    check_hardware(_machine(tmp_path, clock="tsc"), clock_sources={"tsc"})
