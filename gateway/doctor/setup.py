"""What is installed on the parent instance: the files that install.sh and allocator.py write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blindgate.errors import BlindgateError
from blindgate.link import AddressError, parse_address
from blindgate.link.addresses import Address, VsockAddress
from gateway.doctor.host import Host
from gateway.doctor.image_file import ImageFacts, inspect

ETC: Final = "/etc/blindgate"
#: The slots of deploy/systemd/allocator.py.
SLOTS: Final = ("blue", "green")
#: The vsock port on which workers listen, and the one of blindgate-vsock-proxy.service.
WORKER_PORT: Final = 5005
PROXY: Final = VsockAddress(3, 8000)
#: The instance metadata service; AWS_EC2_METADATA_SERVICE_ENDPOINT names another one, as for AWS's
#: SDKs.
IMDS: Final = "http://169.254.169.254"


@dataclass(frozen=True, slots=True)
class Slot:
    """One enclave-….env.

    Attributes:
        name: `blue` or `green`.
        eif: Path of the image.
        cid: The enclave's vsock address.
        cpus: Its vCPUs.
        memory_mib: Its memory.
    """

    name: str
    eif: str
    cid: int
    cpus: int
    memory_mib: int

    @property
    def unit(self) -> str:
        """The systemd unit."""
        return f"blindgate-enclave@{self.name}.service"

    @property
    def enclave(self) -> str:
        """The name that nitro-cli knows."""
        return f"blindgate-{self.name}"


@dataclass(frozen=True, slots=True)
class Needs:
    """What an image needs of its parent.

    Attributes:
        memory_mib: Memory of one enclave.
        cpus: vCPUs of one enclave.
        source: The file that says so.
    """

    memory_mib: int
    cpus: int
    source: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What is installed here, as far as it could be read.

    Attributes:
        region: The AWS Region.
        kms_host: KMS's host name there.
        slots: The enclaves that this instance has room for.
        gateway: The gateway's environment.
        images: What is known of each image, or why nothing is; by path.
        needs: What each image needs, by path.
        key_arns: Keys to check: the options', or those of the images in this Region.
        key_policy: The text of a policy that was given as a file.
        imds: The instance metadata service.
        missing: What could not be read, in words.
    """

    region: str | None = None
    kms_host: str | None = None
    slots: tuple[Slot, ...] = ()
    gateway: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageFacts | str] = field(default_factory=dict)
    needs: Mapping[str, Needs] = field(default_factory=dict)
    key_arns: tuple[str, ...] = ()
    key_policy: str | None = None
    imds: str = IMDS
    missing: tuple[str, ...] = ()

    @property
    def workers(self) -> tuple[Address, ...]:
        """Where the gateway expects workers."""
        found = []
        for text in self.gateway.get("BLINDGATE_ENCLAVES", "").split(","):
            try:
                found.append(parse_address(text.strip()))
            except AddressError:
                continue
        return tuple(found) or tuple(VsockAddress(slot.cid, WORKER_PORT) for slot in self.slots)


def read_setup(
    host: Host,
    *,
    image: str | None = None,
    region: str | None = None,
    key_arns: tuple[str, ...] = (),
    key_policy: str | None = None,
    imds: str = IMDS,
) -> Setup:
    """Read what is installed; what is missing is noted and raises nothing.

    Args:
        host: The machine.
        image: An image to look at in addition to those of the slots.
        region: The AWS Region, instead of the installed one.
        key_arns: KMS keys, instead of those of the images.
        key_policy: The text of a key policy, instead of asking KMS.
        imds: The instance metadata service.
    """
    missing: list[str] = []

    def environment(name: str, *, optional: bool = False) -> dict[str, str]:
        try:
            return parse_environment(host.read(f"{ETC}/{name}").decode(errors="replace"))
        except OSError as error:
            if not optional:
                missing.append(f"{ETC}/{name} ({(error.strerror or 'unreadable').lower()})")
            return {}

    about = environment("host.env")
    gateway = environment("gateway.env")
    found = {name: environment(f"enclave-{name}.env", optional=True) for name in SLOTS}
    if not any(found.values()):
        missing.append(f"{ETC}/enclave-blue.env (no enclave has been sized)")
    slots = []
    for name, values in found.items():
        try:
            slots.append(_slot(name, values))
        except (KeyError, ValueError):
            if values:
                missing.append(f"{ETC}/enclave-{name}.env (a value is missing or not a number)")
    paths = dict.fromkeys([slot.eif for slot in slots] + ([image] if image else []))
    images = {path: _image(host, path) for path in paths}
    needs = {path: need for path in paths if (need := read_needs(host, path))}
    region = region or about.get("BLINDGATE_REGION")
    read = [facts for facts in images.values() if isinstance(facts, ImageFacts)]
    kms_host = about.get("BLINDGATE_KMS_HOST")
    if kms_host is None and region:
        kms_host = kms_name(region, fips=any(facts.fips for facts in read))
    named = [arn for facts in read for arn in facts.key_arns]
    here = tuple(arn for arn in dict.fromkeys(named) if region is None or f":{region}:" in arn)
    return Setup(
        region,
        kms_host,
        tuple(slots),
        gateway,
        images,
        needs,
        key_arns or here,
        key_policy,
        imds.rstrip("/"),
        tuple(missing),
    )


def kms_name(region: str, *, fips: bool = False) -> str:
    """KMS's name in a Region, as in deploy/systemd/install.sh: the partition decides the suffix."""
    suffix = "amazonaws.com"
    if region.startswith("cn-"):
        suffix = "amazonaws.com.cn"
    elif region.startswith("eusc-"):
        suffix = "amazonaws.eu"
    return f"{'kms-fips' if fips else 'kms'}.{region}.{suffix}"


def parse_environment(text: str) -> dict[str, str]:
    """The assignments of a systemd EnvironmentFile, without its rarer forms of quoting."""
    found = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and name and not name.startswith(("#", ";")):
            found[name] = value.strip().strip("\"'")
    return found


def read_needs(host: Host, eif: str) -> Needs | None:
    """What the image's builder wrote beside it, `NAME.requirements.json`, if it is there."""
    path = f"{eif.removesuffix('.eif')}.requirements.json"
    try:
        found: Any = json.loads(host.read(path))
        return Needs(int(found["memory_mib"]), int(found["cpus"]), path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _slot(name: str, values: Mapping[str, str]) -> Slot:
    return Slot(
        name,
        values["BLINDGATE_EIF"],
        int(values["BLINDGATE_CID"]),
        int(values["BLINDGATE_CPUS"]),
        int(values["BLINDGATE_MEMORY"]),
    )


def _image(host: Host, path: str) -> ImageFacts | str:
    try:
        return inspect(host, path)
    except OSError as error:
        return f"{path}: {(error.strerror or 'unreadable').lower()}"
    except BlindgateError as error:
        return str(error)
