from __future__ import annotations

import sys
from pathlib import Path

import pytest

from devstack.qemu.emulator import Emulator, EmulatorUnusable
from devstack.qemu.machine import Machine
from devstack.qemu.tsc import tsc_khz
from enclave_image.eif import Image, Section, SectionType, write
from enclave_image.pcrs import measure
from tests.enclave_image.test_eif import image
from tests.enclave_image.test_kernel import arm64_image, bzimage


def bootable() -> Image:
    """An image whose kernel says for which architecture it is."""
    _, *others = image().sections
    return Image((Section(SectionType.KERNEL, bzimage()), *others))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    path = tmp_path / "test.eif"
    path.write_bytes(write(bootable()))
    emulator = Emulator(tmp_path / "emulator")
    made = Machine(emulator, path, tmp_path / "run", tmp_path / "files", tmp_path, memory_mib=512)
    made.prepare()
    return made


def test_an_image_is_taken_apart_as_a_hypervisor_loads_it(machine: Machine) -> None:
    assert (machine.files / "kernel").read_bytes() == bzimage()
    assert (machine.files / "ramdisks").read_bytes() == b"bootapplication"
    assert machine.pcrs.read_text() == measure(bootable()).to_json()


def test_the_machine_has_vsock_a_security_module_and_a_console_and_nothing_else(
    machine: Machine,
) -> None:
    command = list(machine.enclave(5000).command)
    devices = [command[index + 1] for index, part in enumerate(command) if part == "-device"]
    assert [each.split(",")[0] for each in devices] == [
        "i8042",
        "vhost-user-vsock-device",
        "vhost-user-test-device",
    ]
    assert "virtio-id=33" in devices[2]
    assert "acpi=off,pcie=off" in command[command.index("-M") + 1]
    assert "-no-reboot" in command
    assert "-nodefaults" in command
    assert command[command.index("-m") + 1] == "512M"
    words = command[command.index("-append") + 1].split()
    assert words[0] == "console=ttyS0"
    assert "no_timer_check" in words
    assert command[command.index("-monitor") + 1] == "none"


def machine_with(folder: Path, kernel: bytes, *, arm64: bool) -> Machine:
    _, *others = image().sections
    path = folder / "test.eif"
    path.write_bytes(write(Image((Section(SectionType.KERNEL, kernel), *others), arm64=arm64)))
    return Machine(Emulator(folder / "emulator"), path, folder / "run", folder / "files", folder)


def test_an_arm64_image_gets_an_arm64_machine(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, arm64_image(), arm64=True)
    machine.prepare()
    command = list(machine.enclave(5000).command)
    assert str(tmp_path / "emulator/usr/bin/qemu-system-aarch64") in command
    assert command[command.index("-cpu") + 1] == "neoverse-n1"
    assert "i8042" not in command
    words = command[command.index("-append") + 1].split()
    assert words[-1] == "console=ttyAMA0"
    assert not [word for word in words if word.startswith("tsc_early_khz=")]


@pytest.mark.parametrize(("kernel", "arm64"), [(bzimage(), True), (arm64_image(), False)])
def test_an_image_whose_kernel_is_for_the_other_architecture_is_refused(
    tmp_path: Path, kernel: bytes, arm64: bool
) -> None:
    machine = machine_with(tmp_path, kernel, arm64=arm64)
    with pytest.raises(EmulatorUnusable, match="build it again with --architecture") as caught:
        machine.prepare()
    assert "\n" not in str(caught.value)
    assert not machine.files.exists()


@pytest.mark.parametrize(
    ("system", "processor"), [("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")]
)
def test_a_machine_that_cannot_run_the_emulator_is_told_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, processor: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    with pytest.raises(EmulatorUnusable, match=f"this machine is {system} {processor}: run"):
        Emulator.obtain(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_programs_run_with_their_own_libraries(machine: Machine) -> None:
    loader, option, libraries, program, *_ = machine.vsock().command
    folder = str(machine.emulator.folder)
    assert all(part.startswith(folder) for part in (loader, libraries, program))
    assert option == "--library-path"


def test_the_host_is_reached_and_reaches_by_the_hybrid_handshake(machine: Machine) -> None:
    assert str(machine.address(5000)) == f"hybrid://{machine.folder}/vm.vsock:5000"
    assert machine.host_port(8000).name == "vm.vsock_8000"


@pytest.mark.skipif(sys.platform != "linux", reason="maps executable memory as Linux lets one")
def test_the_counters_pace_is_the_same_twice() -> None:
    one, other = tsc_khz(), tsc_khz()
    if one is None or other is None:
        pytest.skip("this processor is not an x86-64")
    assert one > 100_000
    assert abs(one - other) < one / 1000
