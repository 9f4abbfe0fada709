"""Size enclaves from their image: what the allocator reserves, and what run-enclave asks for.

    python3 allocator.py --eif blindgate.eif --slots 2 --cpus 2 --etc /etc

writes `nitro_enclaves/allocator.yaml` (read by nitro-enclaves-allocator.service at boot) and
`blindgate/enclave-blue.env`, `…-green.env` (read by blindgate-enclave@.service) below `--etc`.
`blindgate.requirements.json` beside the image, which its builder wrote, says what its own limits
take; without it the image's size and the default limits count.
Only the standard library: it runs before anything is installed.

Source: aws/aws-nitro-enclaves-cli, README ("run-enclave") and bootstrap/allocator.yaml.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024

#: nitro-cli refuses less than four times the image (error E26). It is also what our image takes:
#: the compressed image and its unpacked files, both in memory.
EIF_FACTOR: Final = 4

#: What the worker itself uses at most: 384 MiB for uploads and what is opened from them, 848 MiB of
#: decoded images (`[limits]` of its configuration), and 224 MiB for interpreter, model and threads.
WORKING_SET_MIB: Final = 384 + 848 + 224

#: Huge pages of 2 MiB are reserved; round numbers leave less of them unused than exact ones.
ROUNDING_MIB: Final = 64

#: Slots and their CIDs. 0 to 3 are reserved by vsock itself.
SLOTS: Final = {"blue": 16, "green": 17}


@dataclass(frozen=True)
class Enclave:
    """What one enclave is given.

    Attributes:
        memory_mib: Memory, in MiB.
        cpus: vCPUs; whole cores, so an even number where a core has two threads.
    """

    memory_mib: int
    cpus: int


def size(eif_bytes: int, cpus: int, working_set_mib: int = WORKING_SET_MIB) -> Enclave:
    """The memory and CPUs of an enclave.

    Args:
        eif_bytes: Size of the image file.
        cpus: vCPUs wanted.
        working_set_mib: What the worker needs beside its image.

    Raises:
        ValueError: A number makes no sense.
    """
    if eif_bytes <= 0 or cpus < 1 or working_set_mib < 0:
        raise ValueError("an image has a size, and an enclave at least one vCPU")
    needed = EIF_FACTOR * -(-eif_bytes // MIB) + working_set_mib
    return Enclave(-(-needed // ROUNDING_MIB) * ROUNDING_MIB, cpus)


def required(eif: Path) -> Enclave | None:
    """What the image's builder says that it needs; None without such a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not such a file.
    """
    path = eif.with_suffix(".requirements.json")
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        memory, cpus = found["memory_mib"], found["cpus"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} does not say memory_mib and cpus: copy it again") from None
    if type(memory) is not int or type(cpus) is not int or memory < 1 or cpus < 1:
        raise ValueError(f"{path}: memory_mib and cpus must be positive whole numbers")
    return Enclave(memory, cpus)


def allocator_yaml(enclave: Enclave, slots: int) -> str:
    """The allocator's configuration; it skips everything before the `---`."""
    return (
        "---\n"
        f"# {slots} enclaves of {enclave.memory_mib} MiB, {enclave.cpus} vCPUs: allocator.py\n"
        f"memory_mib: {slots * enclave.memory_mib}\n"
        f"cpu_count: {slots * enclave.cpus}\n"
    )


def slot_environment(enclave: Enclave, cid: int, eif: Path) -> str:
    """The environment file of one slot."""
    return (
        f"BLINDGATE_EIF={eif}\n"
        f"BLINDGATE_CID={cid}\n"
        f"BLINDGATE_CPUS={enclave.cpus}\n"
        f"BLINDGATE_MEMORY={enclave.memory_mib}\n"
    )


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--eif", type=Path, required=True, help="the larger image of the slots")
    parser.add_argument("--slots", type=int, choices=(1, 2), default=1)
    parser.add_argument("--cpus", type=int, default=2, help="vCPUs of one enclave")
    parser.add_argument("--working-set", type=int, metavar="MIB")
    parser.add_argument("--etc", type=Path, default=Path("/etc"), metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        needed = required(arguments.eif)
        working_set = arguments.working_set
        if working_set is None:
            working_set = 0 if needed else WORKING_SET_MIB
        enclave = size(arguments.eif.stat().st_size, arguments.cpus, working_set)
        if needed and needed.cpus > enclave.cpus:
            raise ValueError(f"the image needs {needed.cpus} vCPUs: give --cpus {needed.cpus}")
        if needed and needed.memory_mib > enclave.memory_mib:
            enclave = Enclave(needed.memory_mib, enclave.cpus)
    except (OSError, ValueError) as error:
        sys.exit(f"allocator: {error}")
    images = arguments.eif.absolute().parent
    allocator = arguments.etc / "nitro_enclaves/allocator.yaml"
    files = {allocator: allocator_yaml(enclave, arguments.slots)}
    for slot, cid in list(SLOTS.items())[: arguments.slots]:
        environment = slot_environment(enclave, cid, images / f"{slot}.eif")
        files[arguments.etc / f"blindgate/enclave-{slot}.env"] = environment
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{arguments.slots} x {enclave.memory_mib} MiB, {enclave.cpus} vCPUs")


if __name__ == "__main__":
    main()
