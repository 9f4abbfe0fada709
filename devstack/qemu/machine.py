"""One emulated enclave: the programs that make it, and what they are told.

    virtio-nsm    the dev NSM behind the guest's own driver
    vhost-vsock   the guest's vsock: `vm.vsock` for the host, `vm.vsock_PORT` for the guest
    enclave       QEMU with the kernel, the command line and the ramdisks of an image

Nothing else is plugged in: no network card, no disk, no monitor.

The machine is as Nitro's are: neither ACPI nor PCI, so the devices are announced on the kernel's
command line, processors by the MP table, and there is no power-off; a reset ends the machine.
Source: QEMU `hw/i386/nitro_enclave.c` and `docs/system/i386/nitro-enclave.rst`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.link.addresses import HybridAddress
from blindgate.link.dial import open_socket
from blindgate.link.errors import DialError
from devstack.qemu.emulator import Emulator, EmulatorUnusable
from devstack.qemu.tsc import tsc_khz
from devstack.supervisor import Program
from enclave_image import eif
from enclave_image.architecture import ARM64, X86_64
from enclave_image.kernel.formats import architecture_of
from enclave_image.pcrs import measure

#: vhost-device-vsock answers for the host under this CID; on Nitro hardware the parent is CID 3.
HOST_CID: Final = 2
_GUEST_CID: Final = 16
_NSM_VIRTIO_ID: Final = 33
#: An emulated processor on a busy machine needs this long at most.
_BOOT_SECONDS: Final = 600.0
_DIAL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """What QEMU is told for one architecture.

    Attributes:
        program: QEMU.
        arguments: The machine and its processor. x86: a reset through the keyboard controller
            ends the machine, as on Nitro (`reboot=k`). arm64: Graviton2's processor.
        words: Words for the kernel's command line, which are not measured.
    """

    program: str
    arguments: tuple[str, ...]
    words: str


_KINDS: Final = {
    "x86_64": _Kind(
        "qemu-system-x86_64",
        (
            *("-M", "microvm,acpi=off,pcie=off,auto-kernel-cmdline=on,memory-backend=m0"),
            *("-cpu", "max", "-device", "i8042"),
        ),
        # On a busy machine an emulated timer is too late for the kernel's test of it, and the
        # kernel panics. Under KVM, and so on Nitro, it does not test (`arch/x86/kernel/kvm.c`).
        "no_timer_check",
    ),
    "arm64": _Kind(
        "qemu-system-aarch64",
        ("-M", "virt,acpi=off,memory-backend=m0,gic-version=3", "-cpu", "neoverse-n1"),
        "console=ttyAMA0",
    ),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """One emulated enclave.

    Attributes:
        emulator: QEMU and its vsock device.
        image: The enclave image.
        folder: For its sockets; the path must be short.
        files: For the parts of the image and the console's log.
        root: The folder of the dev root that its NSM signs under.
        memory_mib: Of the guest.
        cpus: Of the guest.
    """

    emulator: Emulator
    image: Path
    folder: Path
    files: Path
    root: Path
    memory_mib: int = 2048
    cpus: int = 1

    @property
    def console(self) -> Path:
        """What the guest has printed."""
        return self.files / "console.log"

    @property
    def pcrs(self) -> Path:
        """The image's measurements; `prepare` writes them."""
        return self.files / "pcrs.json"

    def socket(self, name: str) -> Path:
        """The path of one of its sockets."""
        return self.folder / f"vm.{name}"

    def host_port(self, port: int) -> Path:
        """Where the host must listen for the guest to reach a port of the parent."""
        return self.folder / f"vm.vsock_{port}"

    def address(self, port: int) -> HybridAddress:
        """Where the host reaches a port of the guest."""
        return HybridAddress(str(self.socket("vsock")), port)

    def prepare(self) -> None:
        """Take the image apart for QEMU, which loads no enclave images, and measure it.

        Raises:
            MalformedImage: It is none.
            EmulatorUnusable: Its header and its kernel name different architectures.
        """
        found = eif.read(self.image.read_bytes())
        said, kernel = (ARM64 if found.arm64 else X86_64).name, architecture_of(bytes(found.kernel))
        if said != kernel:
            raise EmulatorUnusable(
                f"{self.image} says that it is for {said} and its kernel is for {kernel}: no "
                f"enclave boots it; build it again with --architecture {kernel}"
            )
        self.files.mkdir(parents=True, exist_ok=True)
        measure(found).write(self.pcrs)
        (self.files / "kernel").write_bytes(found.kernel)
        (self.files / "ramdisks").write_bytes(b"".join(found.ramdisks))
        (self.files / "command-line").write_bytes(found.command_line)

    def forget_sockets(self) -> None:
        """Remove the sockets that its programs have left, so that they can be started again."""
        for name in ("nsm", "vhost", "vsock"):
            self.socket(name).unlink(missing_ok=True)

    def nsm(self) -> Program:
        """Its security module."""
        path = self.socket("nsm")
        command = [sys.executable, "-m", "devstack.qemu.nsm_device", "--socket", str(path)]
        command += ["--root-dir", str(self.root), "--pcrs", str(self.pcrs)]
        return Program("virtio-nsm", command, _there(path))

    def vsock(self) -> Program:
        """Its vsock device."""
        paths = f"socket={self.socket('vhost')},uds-path={self.socket('vsock')}"
        options = f"guest-cid={_GUEST_CID},{paths},tx-buffer-size=16384"
        command = self.emulator.command("vhost-device-vsock", "--vm", options)
        return Program("vhost-vsock", command, _there(self.socket("vhost")))

    def enclave(self, port: int) -> Program:
        """The virtual machine; ready when the guest listens at a port."""
        return Program(
            "enclave",
            self.emulator.command(self._kind().program, *self._arguments()),
            _listens(self.address(port)),
            start_seconds=_BOOT_SECONDS,
        )

    def _kind(self) -> _Kind:
        return _KINDS[architecture_of((self.files / "kernel").read_bytes())]

    def _arguments(self) -> list[str]:
        memory = f"{self.memory_mib}M"
        line = (self.files / "command-line").read_text()
        # Not measured, as what the Nitro hypervisor adds of its devices is not either.
        kind = self._kind()
        line += f" {kind.words}"
        if kind is _KINDS[X86_64.name] and (khz := tsc_khz()):
            line += f" tsc_early_khz={khz}"
        return [
            *self.emulator.firmware(),
            *(*kind.arguments, "-accel", "tcg"),
            *("-object", f"memory-backend-memfd,id=m0,size={memory},share=on", "-m", memory),
            *("-smp", str(self.cpus)),
            *("-kernel", str(self.files / "kernel"), "-initrd", str(self.files / "ramdisks")),
            *("-append", line),
            *("-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"),
            "-no-reboot",
            *("-chardev", f"stdio,id=console,signal=off,logfile={self.console}"),
            *("-serial", "chardev:console"),
            *("-chardev", f"socket,id=vsock,path={self.socket('vhost')}"),
            *("-device", "vhost-user-vsock-device,chardev=vsock"),
            *("-chardev", f"socket,id=nsm,path={self.socket('nsm')}"),
            "-device",
            f"vhost-user-test-device,chardev=nsm,virtio-id={_NSM_VIRTIO_ID},num_vqs=1,vq_size=8",
        ]


def _there(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        # A connection would be taken for the one machine that these programs serve.
        return await asyncio.to_thread(path.is_socket)

    return check


def _listens(address: HybridAddress) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        try:
            sock = await open_socket(address, _DIAL_SECONDS)
        except DialError:
            return False
        sock.close()
        return True

    return check
