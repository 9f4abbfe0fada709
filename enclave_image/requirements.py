"""What a parent instance must give an enclave image: `NAME.requirements.json`, beside the image.

Terraform reads it when it plans, `deploy/systemd/allocator.py` and `blindgate doctor` on the
instance. It is not measured and decides nothing in the enclave: a wrong file makes an enclave that
does not start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from enclave_app.config import KmsSection, LimitsSection
from enclave_image.architecture import Architecture
from enclave_image.errors import ImageError

_MIB: Final = 1024 * 1024
#: nitro-cli refuses an enclave with less memory than four times its image (error E26).
EIF_FACTOR: Final = 4
#: Huge pages have 2 MiB; round numbers, as `deploy/systemd/allocator.py` reserves.
ROUNDING_MIB: Final = 64
#: A core of an x86 instance has two hyperthreads, and an enclave is given whole cores. Graviton's
#: cores have one.
_THREADS_PER_CORE: Final = {"x86_64": 2, "arm64": 1}
_Section = TypeVar("_Section", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class KmsRequirements:
    """Where an image asks KMS.

    Attributes:
        regions: The Regions whose KMS keys the measured configuration names.
        fips: Whether it asks KMS's FIPS endpoint.
    """

    regions: tuple[str, ...]
    fips: bool


@dataclass(frozen=True, slots=True)
class Requirements:
    """What one enclave needs.

    Attributes:
        architecture: `x86_64` or `arm64`.
        memory_mib: Memory in MiB: that of the image and of the configuration's limits.
        cpus: vCPUs, whole cores.
        kms: Where the image asks KMS; the parent's vsock-proxy must lead there.
        eif_sha256: The image that this is about.
        pcrs: PCR0, PCR1 and PCR2 in hexadecimal, by name.
    """

    architecture: str
    memory_mib: int
    cpus: int
    kms: KmsRequirements
    eif_sha256: str
    pcrs: Mapping[str, str]

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"version": 1, **asdict(self)}, indent=2) + "\n"


def limits_of(settings: Mapping[str, Any]) -> LimitsSection:
    """The `[limits]` of a measured configuration, with its defaults.

    Raises:
        ImageError: The worker would refuse them.
    """
    return _section(LimitsSection, settings, "limits")


def kms_of(settings: Mapping[str, Any]) -> KmsRequirements:
    """Where a measured configuration's `[kms]` asks KMS.

    Raises:
        ImageError: The worker would refuse the section.
    """
    kms = _section(KmsSection, settings, "kms")
    return KmsRequirements(kms.regions, kms.fips)


def _section(kind: type[_Section], settings: Mapping[str, Any], name: str) -> _Section:
    try:
        return kind.model_validate(settings.get(name, {}))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, (name, *fault["loc"])))
        raise ImageError(f"the configuration cannot be used: {where}: {fault['msg']}") from None


def require(
    eif: bytes,
    pcrs: Mapping[str, str],
    architecture: Architecture,
    limits: LimitsSection,
    kms: KmsRequirements,
    *,
    resident: int,
    boot_memory: int,
) -> Requirements:
    """Compute what an enclave of this image needs.

    Memory holds the kernel and the unpacked files for as long as the enclave runs, and beside them
    what the worker takes at most (`LimitsSection.memory_bytes`: interpreter and model, uploads,
    decoded images). nitro-cli demands four times the image in place of the first part; the larger
    of both counts, and at least what booting takes.

    Args:
        eif: The image.
        pcrs: Its measurements.
        architecture: Its architecture.
        limits: From its measured configuration.
        kms: The same.
        resident: Bytes that kernel and files take.
        boot_memory: Bytes that the enclave needs to start.
    """
    image = max(EIF_FACTOR * -(-len(eif) // _MIB) * _MIB, resident)
    needed = max(image + limits.memory_bytes, boot_memory)
    core = _THREADS_PER_CORE[architecture.name]
    # 0 means as many threads as there are CPUs: any number of them will do.
    cpus = max(1, limits.threads)
    return Requirements(
        architecture.name,
        -(-needed // (ROUNDING_MIB * _MIB)) * ROUNDING_MIB,
        -(-cpus // core) * core,
        kms,
        hashlib.sha256(eif).hexdigest(),
        dict(pcrs),
    )
