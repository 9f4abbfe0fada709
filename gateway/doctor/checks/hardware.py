"""Enclave support, memory and CPUs of the parent instance.

Sources: Linux `drivers/virt/nitro_enclaves/ne_pci_dev.h` and `ne_misc_dev.c` (the PCI device, the
parameter `ne_cpus`); aws/aws-nitro-enclaves-cli `bootstrap/` (allocator, udev rule) and
`docs/` (error E26).
"""

from __future__ import annotations

import re
import stat
from typing import Final

from gateway.doctor.checks.systemd import show
from gateway.doctor.host import Host
from gateway.doctor.image_file import ImageFacts
from gateway.doctor.result import Result, failed, ok, skipped, unknown
from gateway.doctor.setup import Setup

DEVICE: Final = "/dev/nitro_enclaves"
ALLOCATOR: Final = "/etc/nitro_enclaves/allocator.yaml"
CPU_POOL: Final = "/sys/module/nitro_enclaves/parameters/ne_cpus"
#: Vendor and device of the PCI device that an instance with enclaves has, in /proc/bus/pci/devices.
_PCI: Final = "1d0fe4c1"
_GROUP: Final = "ne"
_USER: Final = "blindgate-enclave"
#: Sizes of huge pages, in KiB, that the allocator reserves.
_PAGE_KIB: Final = (2048, 1048576)
_SIZE_AGAIN: Final = (
    "python3.11 /opt/blindgate/current/systemd/allocator.py --eif IMAGE --cpus N, then "
    "systemctl restart nitro-enclaves-allocator while no enclave runs"
)


def enclave_support(host: Host, _: Setup) -> Result:
    """The device that the driver makes, and the PCI device behind it."""
    if _is_device(host):
        return ok(f"{DEVICE} is there")
    try:
        devices = host.read("/proc/bus/pci/devices").decode("ascii", "replace")
    except OSError:
        devices = ""
    if any(line.split()[1:2] == [_PCI] for line in devices.splitlines()):
        return failed(
            f"this instance can run enclaves, but {DEVICE} is missing",
            "load the driver: modprobe nitro_enclaves (Amazon Linux 2023 has it)",
        )
    return failed(
        f"this machine cannot run enclaves: {DEVICE} and the PCI device behind it are missing",
        "launch an instance of a type that supports Nitro Enclaves, with "
        "--enclave-options Enabled=true; a running instance cannot be changed",
    )


def device_access(host: Host, _: Setup) -> Result:
    """Group `ne` may use the device, and the unit's user is a member."""
    try:
        node = host.node(DEVICE)
    except OSError:
        return skipped(f"there is no {DEVICE}")
    may = stat.S_IRGRP | stat.S_IWGRP
    if node.group != _GROUP or node.mode & may != may:
        return failed(
            f"{DEVICE} belongs to group {node.group} with mode {stat.S_IMODE(node.mode):04o}",
            "reinstall aws-nitro-enclaves-cli, whose udev rule says group ne and mode 0660, then "
            "udevadm trigger",
        )
    try:
        done = host.run("id", "-nG", _USER)
    except OSError as error:
        return unknown(f"id: {error.strerror or error}", f"run: id {_USER}")
    if done.code:
        return failed(
            f"there is no user {_USER}, who runs enclaves",
            "run the release's systemd/install.sh REGION",
        )
    if _GROUP not in done.stdout.split():
        return failed(f"{_USER} is not a member of group {_GROUP}", f"usermod -aG {_GROUP} {_USER}")
    return ok(f"group {_GROUP} may use it, {_USER} is a member")


def installation(_: Host, setup: Setup) -> Result:
    """The files that install.sh, allocator.py and the operator write."""
    if setup.missing:
        return failed(
            f"missing or unreadable: {', '.join(setup.missing)}",
            "as root, run the release's systemd/install.sh REGION and allocator.py, and write "
            "gateway.env: docs/deploy.md, By hand",
        )
    slots = ", ".join(f"{slot.name} at CID {slot.cid}" for slot in setup.slots)
    return ok(f"{setup.region}; {slots}")


def image(host: Host, setup: Setup) -> Result:
    """Each image fits this machine and the memory and CPUs that its slot gives it."""
    if not setup.images:
        return skipped("no image is installed", "name one: --image FILE")
    here = host.architecture()
    memory = {slot.eif: slot for slot in setup.slots}
    texts = []
    for path, facts in setup.images.items():
        if isinstance(facts, str):
            slot = memory.get(path)
            if slot is not None and slot.name != setup.slots[0].name:
                # The second slot is empty between upgrades.
                texts.append(f"slot {slot.name} is empty")
                continue
            return failed(facts, f"copy the image to {path}, or correct its path")
        if facts.architecture != here:
            return failed(
                f"{path} is for {facts.architecture}, this machine is {here}",
                f"build it with --architecture {'arm64' if here == 'aarch64' else 'x86_64'}, or "
                "use another instance type",
            )
        needed, cpus, source = _needs(setup, path, facts)
        slot = memory.get(path)
        if slot is not None and slot.memory_mib < needed:
            return failed(
                f"slot {slot.name} has {slot.memory_mib} MiB, {path} needs {needed} ({source})",
                _SIZE_AGAIN.replace("IMAGE", path),
            )
        if slot is not None and slot.cpus < cpus:
            return failed(
                f"slot {slot.name} has {slot.cpus} vCPUs, {path} needs {cpus} ({source})",
                _SIZE_AGAIN.replace("IMAGE", path),
            )
        texts.append(f"{path}: {facts.architecture}, needs {needed} MiB ({source})")
    return ok("; ".join(texts))


def allocator(host: Host, setup: Setup) -> Result:
    """The allocator's configuration covers every slot, and the allocator has run."""
    if not setup.slots:
        return skipped("no enclave has been sized", _SIZE_AGAIN)
    try:
        reserved = parse_allocator(host.read(ALLOCATOR).decode(errors="replace"))
    except OSError as error:
        return failed(f"{ALLOCATOR}: {(error.strerror or 'unreadable').lower()}", _SIZE_AGAIN)
    memory, cpus = reserved.get("memory_mib", 0), reserved.get("cpu_count", 0)
    # A slot for the next image may be empty, and then needs nothing yet.
    used = [slot for slot in setup.slots if isinstance(setup.images.get(slot.eif), ImageFacts)]
    slots = used or list(setup.slots)
    wanted = sum(slot.memory_mib for slot in slots)
    wanted_cpus = sum(slot.cpus for slot in slots)
    details = {"memory_mib": memory, "cpus": cpus}
    if memory < wanted or cpus < wanted_cpus:
        return failed(
            f"{ALLOCATOR} reserves {memory} MiB and {cpus} vCPUs, the enclaves need {wanted} MiB "
            f"and {wanted_cpus}",
            _SIZE_AGAIN,
            **details,
        )
    unit = show(host, "nitro-enclaves-allocator.service")
    if unit is not None and unit.active != "active":
        return failed(
            f"nitro-enclaves-allocator.service is {unit}",
            "systemctl enable nitro-enclaves-allocator && systemctl restart "
            "nitro-enclaves-allocator; if it fails, the instance has too little memory or too few "
            "cores: journalctl -u nitro-enclaves-allocator",
            **details,
        )
    return ok(
        f"reserves {memory} MiB and {cpus} vCPUs, {wanted} and {wanted_cpus} are needed", **details
    )


def huge_pages(host: Host, setup: Setup) -> Result:
    """The kernel has the memory that the allocator's configuration names, as huge pages."""
    try:
        wanted = parse_allocator(host.read(ALLOCATOR).decode(errors="replace"))["memory_mib"]
    except (OSError, KeyError):
        wanted = sum(slot.memory_mib for slot in setup.slots)
    if not wanted:
        return skipped("no enclave has been sized", _SIZE_AGAIN)
    total = free = 0
    for kib in _PAGE_KIB:
        folder = f"/sys/kernel/mm/hugepages/hugepages-{kib}kB"
        try:
            total += int(host.read(f"{folder}/nr_hugepages")) * kib // 1024
            free += int(host.read(f"{folder}/free_hugepages")) * kib // 1024
        except (OSError, ValueError):
            continue  # not every processor has pages of 1 GiB
    if total < wanted:
        return failed(
            f"{total} MiB of huge pages are reserved, {wanted} MiB are needed",
            "systemctl restart nitro-enclaves-allocator; memory is fragmented if that fails: "
            "reboot, or use a larger instance type",
            total_mib=total,
            free_mib=free,
        )
    return ok(f"{total} MiB reserved, {free} MiB not in use", total_mib=total, free_mib=free)


def cpu_pool(host: Host, setup: Setup) -> Result:
    """The driver's pool has the CPUs that the enclaves need."""
    wanted = sum(slot.cpus for slot in setup.slots[:1])
    try:
        pool = parse_cpus(host.read(CPU_POOL).decode("ascii", "replace"))
    except OSError:
        return skipped("the driver nitro_enclaves is not loaded")
    except ValueError:
        return unknown(f"{CPU_POOL} holds no list of CPUs", f"cat {CPU_POOL}")
    if not pool or pool < wanted:
        return failed(
            f"{pool} CPUs are set aside for enclaves, {max(wanted, 1)} are needed",
            "systemctl restart nitro-enclaves-allocator; it needs whole cores, and one core "
            "remains with the parent",
            cpus=pool,
        )
    return ok(f"{pool} CPUs are set aside for enclaves", cpus=pool)


def parse_allocator(text: str) -> dict[str, int]:
    """The numbers of allocator.yaml; the allocator itself skips what is before `---`."""
    return {
        name: int(value)
        for name, value in re.findall(
            r"^(memory_mib|cpu_count)\s*:\s*([0-9]{1,9})\s*(?:#.*)?$", text, re.MULTILINE
        )
    }


def parse_cpus(text: str) -> int:
    """How many CPUs a list such as `1-3,7` has.

    Raises:
        ValueError: It is no such list.
    """
    count = 0
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _is_device(host: Host) -> bool:
    try:
        return stat.S_ISCHR(host.node(DEVICE).mode)
    except OSError:
        return False


def _needs(setup: Setup, path: str, facts: ImageFacts) -> tuple[int, int, str]:
    needs = setup.needs.get(path)
    if needs is not None:
        return max(needs.memory_mib, facts.memory_mib), needs.cpus, needs.source
    return facts.memory_mib, 1, "four times its size"
