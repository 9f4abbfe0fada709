"""The measured configuration: one TOML file inside the image, and so inside PCR0.

Everything that decides security in the enclave is read from here and from nowhere else; what
the parent passes at run time can deny service and nothing more.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from blindgate import strict_toml
from blindgate.errors import BlindgateError
from blindgate.imaging.limits import DEFAULT_LIMITS, ImageLimits
from blindgate.link import parse_address
from blindgate.link.errors import AddressError
from enclave_app.kms.endpoints import (
    NoFipsEndpoint,
    UnknownPartition,
    kms_host,
    partition_name_of,
    partition_of,
    region_of,
)
from enclave_app.limits import BASE_BYTES, COPIES_OF_A_BODY
from enclave_app.scheduling.cores import usable_cores


class ConfigError(BlindgateError):
    """The measured configuration cannot be used; the worker does not start."""


def _is_address(text: str) -> str:
    try:
        parse_address(text)
    except AddressError as error:
        raise ValueError(str(error)) from None
    return text


def _is_region(text: str) -> str:
    try:
        partition_of(text)
    except UnknownPartition as error:
        raise ValueError(str(error)) from None
    return text


AddressText = Annotated[str, AfterValidator(_is_address)]
KeyArn = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$")
]
_MIB = 1024 * 1024
#: The file has some dozens of lines.
_MAX_CONFIG = 64 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NsmSection(_Section):
    """Which security module signs for this worker."""

    device: Annotated[
        str,
        Field(
            pattern=r"^(/dev/nsm|unix:///.+)$",
            description="/dev/nsm; a Unix socket only for development, and PCR0 shows it.",
        ),
    ] = "/dev/nsm"
    clock_sources: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")], ...],
        Field(
            strict=False,
            max_length=4,
            description="Accepted in place of the hypervisor's clock; for emulators only.",
        ),
    ] = ()


class DataKeyCacheSection(_Section):
    """How long an unwrapped data key may serve further envelopes without asking KMS."""

    entries: Annotated[int, Field(ge=0, le=10_000)] = 256
    max_age_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    max_uses: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    max_bytes: Annotated[int, Field(ge=1)] = 1024 * _MIB


class KmsSection(_Section):
    """The only KMS keys that this enclave uses, and the way to KMS."""

    region: Annotated[
        Annotated[str, AfterValidator(_is_region)] | None,
        Field(
            description=(
                "The region of all keys. Without it, keys of several regions of one partition may "
                "be named, and the parent says which of these regions a worker asks."
            )
        ),
    ] = None
    key_arns: Annotated[tuple[KeyArn, ...], Field(min_length=1, max_length=16, strict=False)]
    fips: Annotated[bool, Field(description="Ask KMS's FIPS endpoint of the region.")] = False
    address: AddressText
    ca_bundle: Path = Field(strict=False)
    encryption_context: Annotated[dict[str, str], Field(min_length=1, max_length=8)]
    sample_files: Annotated[
        bool,
        Field(
            description=(
                "Open the AWS sample's files too. They carry no encryption context, so anybody "
                "who may encrypt under the key can have another's wrapped key opened."
            )
        ),
    ] = False
    data_key_cache: DataKeyCacheSection = DataKeyCacheSection()

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions whose KMS may be asked, in the order of the keys."""
        return tuple(dict.fromkeys(map(region_of, self.key_arns)))

    @property
    def hosts(self) -> dict[str, str]:
        """KMS's host name in each of these regions, as its certificate names it."""
        return {region: kms_host(region, fips=self.fips) for region in self.regions}

    @model_validator(mode="after")
    def _keys_are_where_kms_is_asked(self) -> Self:
        if len(set(self.key_arns)) < len(self.key_arns):
            raise ValueError("key_arns: a key is named twice")
        first = self.region or region_of(self.key_arns[0])
        try:
            name = partition_of(first).name
            prefix = f"arn:{name}:kms:{self.region}:" if self.region else f"arn:{name}:kms:"
            for arn in self.key_arns:
                if not arn.startswith(prefix):
                    where = self.region or f"the partition {name} of the first key"
                    raise ValueError(f"key_arns: {arn} is not in {where} ({prefix}…)")
                if partition_of(region_of(arn)).name != partition_name_of(arn):
                    raise ValueError(f"key_arns: {arn} has the partition of another region")
        except UnknownPartition as error:
            raise ValueError(f"key_arns: {error}") from None
        return self

    @model_validator(mode="after")
    def _fips_is_offered(self) -> Self:
        try:
            _ = self.hosts
        except NoFipsEndpoint as error:
            raise ValueError(f"fips: {error}") from None
        return self


class ModelSection(_Section):
    """Which detector runs: a folder with model.toml and model.onnx."""

    folder: Path = Field(strict=False)


class LimitsSection(_Section):
    """What the worker takes at most. Reasons stand in `enclave_app/limits.py`."""

    threads: Annotated[int, Field(ge=0, le=256, description="0: one a core.")] = 0
    threads_alone: Annotated[
        int, Field(ge=0, le=64, description="0: one a core, four at most.")
    ] = 0
    connections: Annotated[int, Field(ge=1, le=1024)] = 64
    queue: Annotated[int, Field(ge=1, le=4096)] = 128
    body_bytes: Annotated[int, Field(ge=1024, le=256 * _MIB)] = DEFAULT_LIMITS.max_bytes
    upload_memory_bytes: Annotated[int, Field(ge=1024)] = 384 * _MIB
    image_memory_bytes: Annotated[int, Field(ge=_MIB)] = 848 * _MIB
    image_pixels: Annotated[int, Field(ge=1, le=400_000_000)] = DEFAULT_LIMITS.max_pixels
    image_side: Annotated[int, Field(ge=1, le=65_535)] = DEFAULT_LIMITS.max_side

    @property
    def image(self) -> ImageLimits:
        """The limits of one image."""
        return ImageLimits(self.body_bytes, self.image_pixels, self.image_side)

    @model_validator(mode="after")
    def _budgets_hold_one_of_the_largest(self) -> Self:
        """A request within the limits must never wait for memory that there will never be."""
        if self.upload_memory_bytes < (needed := COPIES_OF_A_BODY * self.body_bytes):
            raise ValueError(
                f"upload_memory_bytes must be {needed} at least, to hold one body of body_bytes "
                "and what is opened from it"
            )
        if self.image_memory_bytes < (needed := self.image.decoded_bytes):
            raise ValueError(
                f"image_memory_bytes must be {needed} at least, to decode an image of "
                f"{self.image_pixels} pixels; or lower image_pixels"
            )
        return self

    @property
    def memory_bytes(self) -> int:
        """Memory that the worker takes at most."""
        return BASE_BYTES + self.upload_memory_bytes + self.image_memory_bytes


class EnclaveConfig(_Section):
    """The whole file; every field is measured."""

    listen: AddressText
    answers: Literal["open", "sealed"] = "sealed"
    nsm: NsmSection = NsmSection()
    kms: KmsSection
    model: ModelSection
    limits: LimitsSection = LimitsSection()

    @property
    def threads(self) -> int:
        """Threads that compute: as many as asked for, or one for each core."""
        return self.limits.threads or usable_cores()

    @property
    def threads_alone(self) -> int:
        """Threads that look at a picture which is the only one."""
        return self.limits.threads_alone or min(self.threads, 4)


@dataclass(frozen=True, slots=True)
class Measured:
    """A configuration and what identifies it.

    Attributes:
        config: The parsed file; relative paths in it start at the file's own folder.
        digest: SHA-256 of the file's bytes, bound by the attestation document.
    """

    config: EnclaveConfig
    digest: bytes


def check_memory(config: LimitsSection, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Check that the machine has the memory that the limits allow requests to take.

    Without it the kernel would end the worker under load, and its keys with it.

    Args:
        config: The limits.
        meminfo: Where Linux says how much memory there is.

    Raises:
        ConfigError: There is less, or the system does not say.
    """
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError as error:
        raise ConfigError(f"cannot read {meminfo}: {error.strerror}") from error
    if found is None:
        raise ConfigError(f"{meminfo} does not say what memory is available")
    available = int(found[1]) * 1024
    if available < config.memory_bytes:
        raise ConfigError(
            f"the limits allow {config.memory_bytes // _MIB} MiB and this machine has "
            f"{available // _MIB} MiB: give the enclave more memory, or lower "
            "limits.upload_memory_bytes or limits.image_memory_bytes"
        )


def load(path: Path) -> Measured:
    """Read the measured configuration.

    Raises:
        ConfigError: The file is missing, no TOML, or holds a field or value that is not allowed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG + 1)
        values = strict_toml.decode(data, max_bytes=_MAX_CONFIG)
        config = EnclaveConfig.model_validate(values)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except strict_toml.TomlError as error:
        raise ConfigError(f"{path} is {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigError(f"{path}: {faults}") from error
    here = path.resolve().parent
    kms = config.kms.model_copy(update={"ca_bundle": here / config.kms.ca_bundle})
    model = config.model.model_copy(update={"folder": here / config.model.folder})
    return Measured(
        config.model_copy(update={"kms": kms, "model": model}), hashlib.sha256(data).digest()
    )
