"""Whatever stops the worker resets the virtual machine, and what started it notices.

There is no power-off in an enclave: a halted one would be reported as running.
"""

from __future__ import annotations

import asyncio
import io
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from rich.console import Console

from devstack.configuration import Configuration
from devstack.model import obtain
from devstack.nsm.root import DevRoot
from devstack.qemu.emulator import Emulator
from devstack.qemu.machine import Machine
from devstack.qemu.stack import WORKER_PORT
from devstack.supervisor import ProgramDied, Supervisor
from enclave_image import eif
from enclave_image.architecture import named
from enclave_image.build import Recipe, build
from enclave_image.eif import Image, SectionType
from enclave_image.errors import FetchFailed

pytestmark = [
    pytest.mark.enclave,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="images are built on x86-64 Linux",
    ),
]

MODEL = "ssd-mobilenet-v2-coco"
#: Seconds from the start of a machine to its end, on a busy computer.
SECONDS = 600.0
#: The worker requires kvm-clock, which an emulated machine does not have, so it ends immediately.
CONFIGURATION = Configuration(kms="vsock://2:8000", clock_sources=("kvm-clock",))


class Prepared:
    """An image whose worker ends when it starts, and where to boot it."""

    def __init__(self, folder: Path, architecture: str) -> None:
        config = folder / "enclave.toml"
        config.write_text(CONFIGURATION.text())
        (folder / "ca.pem").write_bytes(Path(certifi.where()).read_bytes())
        self._folder = folder
        self._emulator = Emulator.obtain()
        recipe = Recipe(config, obtain(MODEL), architecture=named(architecture))
        self.image = eif.read(build(recipe).eif)

    def machine(self, image: Image | None = None, memory_mib: int = 1024) -> Machine:
        """A machine with the image or a variant of it."""
        place = Path(tempfile.mkdtemp(dir=self._folder))
        DevRoot.load_or_create(place)
        (place / "test.eif").write_bytes(eif.write(image or self.image))
        machine = Machine(
            emulator=self._emulator,
            image=place / "test.eif",
            folder=place,
            files=place / "files",
            root=place,
            memory_mib=memory_mib,
        )
        machine.prepare()
        return machine


def prepare(architecture: str) -> Iterator[Prepared]:
    with tempfile.TemporaryDirectory(prefix="bg-") as folder:
        try:
            yield Prepared(Path(folder), architecture)
        except FetchFailed as error:
            pytest.skip(f"the packages of the image or of the emulator cannot be had: {error}")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    yield from prepare("x86_64")


@pytest.fixture(scope="module")
def prepared_arm64() -> Iterator[Prepared]:
    yield from prepare("arm64")


def console_of_the_end(machine: Machine) -> str:
    """Start a machine, wait until its process has ended, and return what it printed."""

    async def run() -> None:
        async with Supervisor(Console(file=io.StringIO())) as supervisor:
            await supervisor.start(machine.nsm())
            await supervisor.start(machine.vsock())
            with pytest.raises(ProgramDied, match="exit code 0"):
                async with asyncio.timeout(SECONDS):
                    await supervisor.start(machine.enclave(WORKER_PORT))

    asyncio.run(run())
    return machine.console.read_text(errors="replace")


def test_a_worker_that_ends_resets_the_machine(prepared: Prepared) -> None:
    console = console_of_the_end(prepared.machine())
    assert "the worker ended with status 1" in console
    assert "heartbeat" not in console


def test_a_worker_that_ends_resets_an_arm64_machine(prepared_arm64: Prepared) -> None:
    # Through PSCI, the firmware's interface, instead of the keyboard controller.
    console = console_of_the_end(prepared_arm64.machine())
    assert "the worker ended with status 1" in console
    assert "heartbeat" not in console


def test_a_kernel_panic_resets_the_machine(prepared: Prepared) -> None:
    # Without the boot ramdisk there is no first process.
    sections = list(prepared.image.sections)
    first = next(each for each in sections if each.kind is SectionType.RAMDISK)
    sections.remove(first)
    console = console_of_the_end(prepared.machine(Image(tuple(sections))))
    assert "Kernel panic" in console
    assert "init:" not in console


def test_too_little_memory_resets_the_machine(prepared: Prepared) -> None:
    console = console_of_the_end(prepared.machine(memory_mib=320))
    assert "the worker ended" not in console
