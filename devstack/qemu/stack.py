"""`blindgate dev up --enclave emulated`: the stack with the real enclave image in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from devstack.places import Places
from devstack.qemu.emulator import Emulator
from devstack.qemu.machine import HOST_CID, Machine
from devstack.stack import Enclave, Options, Stack
from devstack.supervisor import Program, Supervisor
from enclave_image.architecture import X86_64, named
from enclave_image.build import Recipe, build

#: As in production: the worker's port, and vsock-proxy's on the parent.
WORKER_PORT: Final = 5005
PROXY_PORT: Final = 8000
#: The longest that the gateway allows: the first request waits until QEMU has translated the code.
_DEADLINE: Final = {"BLINDGATE_DEFAULT_DEADLINE": "120"}


def clock_sources(architecture: str) -> tuple[str, ...]:
    """Clock sources that a configuration must accept in an emulated enclave.

    There is no hypervisor's clock without a hypervisor. On arm64 the processor's own is expected.
    """
    return ("tsc",) if architecture == X86_64.name else ()


class EmulatedStack(Stack):
    """Builds the enclave image, and boots it in place of the worker's process.

    Args:
        places: Where its files are.
        options: What may differ.
        supervisor: Runs the programs.
        said: Told of each step of the build.
    """

    def __init__(
        self,
        places: Places,
        options: Options,
        supervisor: Supervisor,
        said: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(places, options, supervisor)
        self._said = said
        self.machine = Machine(
            emulator=Emulator.obtain(said=said),
            image=places.state / "blindgate.eif",
            folder=places.sockets,
            files=places.state / "machine",
            root=places.state,
        )

    def enclave(self) -> Enclave:
        """What the configuration says inside the image, and how it is reached from outside."""
        return Enclave(
            listen=f"vsock://any:{WORKER_PORT}",
            address=str(self.machine.address(WORKER_PORT)),
            nsm="/dev/nsm",
            clock_sources=clock_sources(self._options.architecture),
            kms=f"vsock://{HOST_CID}:{PROXY_PORT}",
            proxy=self.machine.host_port(PROXY_PORT),
            model="model",
        )

    def measure(self) -> None:
        """Build the image; its own measurements are those that the key policy will name."""
        architecture = named(self._options.architecture)
        recipe = Recipe(self._places.config, self._options.model, architecture=architecture)
        built = build(recipe, said=self._said)
        self.machine.image.write_bytes(built.eif)
        (self._places.state / "blindgate.sbom.json").write_text(built.sbom)
        built.measurements.write(self._places.pcrs)
        self.machine.prepare()

    def nsm(self) -> list[Program]:
        """The security module and the vsock device, which must be there before the machine."""
        return [self.machine.nsm(), self.machine.vsock()]

    def worker(self) -> Program:
        """The virtual machine."""
        return self.machine.enclave(WORKER_PORT)

    def gateway(self) -> Program:
        """The gateway, with a deadline that an emulated processor can meet on a busy machine."""
        program = super().gateway()
        return replace(program, environment={**program.environment, **_DEADLINE})

    async def reboot(self) -> None:
        """Boot the machine again, with the image as `measure` has left it.

        Its vsock device serves one machine and is started anew with each.

        Raises:
            ProgramDied: It ended; the message holds its last lines.
        """
        for program in ("enclave", "vhost-vsock", "virtio-nsm"):
            if program in self._supervisor.pids:
                await self._supervisor.kill(program)
        self.machine.forget_sockets()
        for each in (*self.nsm(), self.worker()):
            await self._supervisor.start(each)
