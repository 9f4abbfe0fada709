"""How long an enclave image takes to boot under emulation: `python -m bench.boot`.

Without `--image` the image is built here, with a configuration for the emulator. Several images are
booted in turn, so that a busy machine slows all of them alike; beside the seconds on the clock, the
CPU seconds of QEMU are given, which other programs affect less.

An emulated processor is many times slower than a real one: the figures compare images with each
other, and do not say how long an instance takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi

from bench.gateway import positive
from bench.load.processes import cpu_seconds
from devstack.configuration import Configuration
from devstack.model import obtain
from devstack.nsm.root import DevRoot
from devstack.qemu.emulator import Emulator
from devstack.qemu.machine import HOST_CID, Machine
from devstack.qemu.stack import PROXY_PORT, WORKER_PORT, clock_sources
from devstack.supervisor import Supervisor
from enclave_image.architecture import NAMES, X86_64, named
from enclave_image.build import Recipe, build
from enclave_image.init import HEARTBEAT_PORT

#: An emulated processor has no 8-bit dot products, so this model serves there.
_MODEL: Final = "ssd-mobilenet-v2-coco"
_BOOT_SECONDS: Final = 600.0
_LAST_LINES: Final = 10
#: What the worker logs (`enclave_app/__main__.py`).
_FIRST_LINE: Final = "starting"
_LAST_LINE: Final = "ready"
#: The points in time, in order, and what is seen then.
INIT: Final = "init"
WORKER: Final = "worker"
READY: Final = "ready"
HEARTBEAT: Final = "heartbeat"
_POINTS: Final = {
    INIT: "first line of init",
    WORKER: "first log line of the worker",
    READY: "the worker is ready",
    HEARTBEAT: "heartbeat",
}


class BootFailed(RuntimeError):
    """A machine ended, or did not get as far as it should."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a point was reached, counted from QEMU's start.

    Attributes:
        seconds: On the clock.
        cpu: CPU seconds of QEMU.
    """

    seconds: float
    cpu: float


class Watch:
    """Notes when a machine reaches each point.

    Attributes:
        moments: The points reached so far.
        answered: Set once the heartbeat is answered.

    Args:
        clock: Called when a point is reached.
    """

    def __init__(self, clock: Callable[[], Moment]) -> None:
        self.moments: dict[str, Moment] = {}
        self.answered = asyncio.Event()
        self._clock = clock
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def reached(self, point: str) -> None:
        """A point is reached; only the first time counts."""
        if point not in self.moments:
            self.moments[point] = self._clock()

    async def read(self, console: AsyncIterator[bytes]) -> None:
        """Follow the console until the worker has started.

        Raises:
            BootFailed: The console ended before.
        """
        async for raw in console:
            line = raw.decode(errors="replace").strip()
            self._last.append(line)
            if line.startswith("init: "):
                self.reached(INIT)
            elif line == _FIRST_LINE and INIT in self.moments:
                self.reached(WORKER)
            elif line == _LAST_LINE and INIT in self.moments:
                self.reached(READY)
                return
        raise BootFailed("the machine ended while it booted:\n" + "\n".join(self._last))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Return the heartbeat, as nitro-cli does."""
        writer.write(await reader.readexactly(1))
        self.reached(HEARTBEAT)
        writer.close()
        self.answered.set()


async def boot(machine: Machine) -> dict[str, Moment]:
    """Boot a machine, and stop it when the worker has started and the heartbeat has come.

    Args:
        machine: After `prepare`.

    Returns:
        When each point was reached.

    Raises:
        BootFailed: It ended before.
        TimeoutError: It takes longer than ten minutes.
    """
    command = machine.enclave(WORKER_PORT).command
    machine.forget_sockets()
    async with Supervisor(None) as supervisor:
        for program in (machine.nsm(), machine.vsock()):
            await supervisor.start(program)
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        watch = Watch(lambda: Moment(time.monotonic() - began, cpu_seconds([process.pid])))
        try:
            await _follow(machine, process, watch)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return watch.moments


async def _follow(machine: Machine, process: asyncio.subprocess.Process, watch: Watch) -> None:
    if process.stdout is None:
        raise RuntimeError("started without a pipe")
    path = machine.host_port(HEARTBEAT_PORT)
    path.unlink(missing_ok=True)
    async with (
        asyncio.timeout(_BOOT_SECONDS),
        await asyncio.start_unix_server(watch.answer, path),
    ):
        await watch.read(process.stdout)
        await watch.answered.wait()


def table(name: str, boots: Sequence[Mapping[str, Moment]]) -> str:
    """Minimum, median and maximum of each point over several boots of one image."""
    lines = [f"{name}: seconds from QEMU's start, {len(boots)} boots"]
    lines.append(f"{'':30} {'min':>7} {'median':>7} {'max':>7}   {'CPU, median':>11}")
    for point, title in _POINTS.items():
        seconds = [each[point].seconds for each in boots]
        middle, cpu = statistics.median(seconds), statistics.median(b[point].cpu for b in boots)
        row = f"{min(seconds):7.1f} {middle:7.1f} {max(seconds):7.1f}   {cpu:11.1f}"
        lines.append(f"{title:30} {row}")
    return "\n".join(lines)


def build_image(folder: Path, architecture: str) -> Path:
    """Build an image whose configuration fits the emulator.

    Args:
        folder: Where it is written.
        architecture: `x86_64` or `arm64`.

    Raises:
        ImageError: It cannot be built here.
    """
    configuration = Configuration(
        kms=f"vsock://{HOST_CID}:{PROXY_PORT}", clock_sources=clock_sources(architecture)
    )
    config = folder / "enclave.toml"
    config.write_text(configuration.text())
    (folder / "ca.pem").write_bytes(Path(certifi.where()).read_bytes())
    built = build(
        Recipe(config, obtain(_MODEL), architecture=named(architecture)),
        said=lambda text: print(text, file=sys.stderr),
    )
    image = folder / "blindgate.eif"
    image.write_bytes(built.eif)
    return image


def main() -> None:
    """Boot the images and print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.boot", description=__doc__)
    parser.add_argument("--image", type=Path, action="append", default=[], metavar="EIF")
    parser.add_argument("--architecture", choices=NAMES, default=X86_64.name, help="to build")
    parser.add_argument("--rounds", type=positive, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bg-") as name:
        folder = Path(name)
        images = given.image or [build_image(folder, given.architecture)]
        machines = [_machine(image, folder / str(number)) for number, image in enumerate(images)]
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs", flush=True)
        boots: list[list[dict[str, Moment]]] = [[] for _ in machines]
        for _ in range(given.rounds):
            for done, machine in zip(boots, machines, strict=True):
                done.append(asyncio.run(boot(machine)))
                print(".", end="", file=sys.stderr, flush=True)
    print(f"\nload average {os.getloadavg()[0]:.1f} at the end")
    for done, path in zip(boots, images, strict=True):
        print(table(str(path), done))


def _machine(image: Path, folder: Path) -> Machine:
    folder.mkdir()
    DevRoot.load_or_create(folder)
    machine = Machine(Emulator.obtain(), image, folder, folder / "files", folder)
    machine.prepare()
    return machine


if __name__ == "__main__":
    main()
