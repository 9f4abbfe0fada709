"""A parent instance that exists in a test only: healthy, until a test changes something."""

from __future__ import annotations

import errno
import gzip
import json
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from blindgate.attestation import PcrSet
from blindgate.link.addresses import Address, VsockAddress
from blindgate.policy.writer import write_policy
from enclave_image import cpio, eif
from enclave_image.eif import Section, SectionType
from gateway.doctor.host import Done, HttpResponse, Node

REGION = "eu-central-1"
KMS = f"kms.{REGION}.amazonaws.com"
KEY = f"arn:aws:kms:{REGION}:111122223333:key/00000000-0000-0000-0000-000000000000"
OTHER_KEY = KEY.replace(REGION, "us-east-1")
CONFIG = f'[kms]\nregion = "{REGION}"\nkey_arns = ["{KEY}", "{OTHER_KEY}"]\n'
NOW = 1_790_000_000.0
EIF = "/var/lib/blindgate/blue.eif"
IMDS = "http://169.254.169.254"
ROLE = f"{IMDS}/latest/meta-data/iam/security-credentials/"
PROXIED = f"via https://{KMS}/"
DIRECT = f"https://{KMS}/"
READY = "http://127.0.0.1:8080/readyz"
DESCRIBE = "/usr/bin/nitro-cli describe-enclaves"
WORKER = VsockAddress(16, 5005)
PCRS = {index: bytes([index + 1]) * 48 for index in range(3)}
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01"

#: Something that a call gives, or raises.
Given = Any


def absent(path: str = "") -> OSError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def image(*, arm64: bool = False, config: str = CONFIG) -> bytes:
    """A small image, laid out as the builder lays out ours."""
    files = {
        "etc/blindgate/ca.pem": cpio.file(b"-----BEGIN"),
        "etc/blindgate/enclave.toml": cpio.file(config.encode()),
        "etc/blindgate/model/model.onnx": cpio.file(bytes(100_000)),
    }
    return eif.write(
        eif.Image(
            (
                Section(SectionType.KERNEL, b"kernel"),
                Section(SectionType.COMMAND_LINE, b"console=ttyS0"),
                Section(SectionType.RAMDISK, gzip.compress(cpio.archive({}), mtime=0)),
                Section(SectionType.RAMDISK, gzip.compress(cpio.archive(files), mtime=0)),
                Section(SectionType.METADATA, b"{}"),
            ),
            arm64=arm64,
        )
    )


def measured(values: Mapping[int, bytes] = PCRS) -> str:
    return json.dumps({f"PCR{index}": value.hex() for index, value in values.items()})


def policy(values: Mapping[int, bytes] = PCRS) -> str:
    account = "arn:aws:iam::111122223333:role"
    return json.dumps(
        write_policy(
            pcr_sets=[PcrSet("blue", dict(values))],
            roles=[f"{account}/parent"],
            admins=[f"{account}/key-admin"],
        )
    )


def described(*enclaves: dict[str, Any]) -> Done:
    return Done(0, json.dumps(enclaves))


def enclave(**changed: Any) -> dict[str, Any]:
    return {
        "EnclaveName": "blindgate-blue",
        "EnclaveID": "i-0abcdef0123456789-enc1",
        "EnclaveCID": 16,
        "State": "RUNNING",
        "Flags": "NONE",
        "Measurements": json.loads(measured()),
    } | changed


def unit(state: str = "active", *, load: str = "loaded", result: str = "success") -> Done:
    return Done(0, f"LoadState={load}\nActiveState={state}\nResult={result}\nNRestarts=0\n")


def show(name: str) -> str:
    return f"systemctl show --property=LoadState,ActiveState,Result,NRestarts {name}"


def credentials(**changed: Any) -> HttpResponse:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + 3600))
    given = {
        "Code": "Success",
        "AccessKeyId": "ASIAEXAMPLEEXAMPLE00",
        "SecretAccessKey": SECRET,
        "Token": "T" * 200,
        "Expiration": ends,
    }
    return HttpResponse(200, {}, json.dumps(given | changed).encode())


def dated(seconds: float = 0.0) -> HttpResponse:
    """A response of KMS whose clock is ahead of ours by `seconds`."""
    return HttpResponse(404, {"date": formatdate(NOW + seconds, usegmt=True)})


@dataclass
class FakeHost:
    """A machine. Values that are exceptions are raised."""

    files: dict[str, Given] = field(default_factory=dict)
    nodes: dict[str, Given] = field(default_factory=dict)
    commands: dict[str, Given] = field(default_factory=dict)
    names: dict[str, Given] = field(default_factory=dict)
    answers: dict[str, Given] = field(default_factory=dict)
    workers: dict[Address, Given] = field(default_factory=dict)
    policies: dict[str, Given] = field(default_factory=dict)
    machine: str = "x86_64"
    #: Called before each call: to hang, or to count.
    before: Callable[[], None] = lambda: None

    def now(self) -> float:
        return NOW

    def architecture(self) -> str:
        return self.machine

    def read(self, path: str, *, limit: int = 2**20, offset: int = 0) -> bytes:
        content = self._given(self.files.get(path), absent(path))
        data = content if isinstance(content, bytes) else str(content).encode()
        return data[offset : offset + limit]

    def node(self, path: str) -> Node:
        found: Node = self._given(self.nodes.get(path), absent(path))
        return found

    def run(self, *command: str) -> Done:
        found: Done = self._given(self.commands.get(" ".join(command)), absent(command[0]))
        return found

    def resolve(self, name: str) -> tuple[str, ...]:
        unresolved = OSError(-2, "Name or service not known")
        found: tuple[str, ...] = self._given(self.names.get(name), unresolved)
        return found

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        via: Address | None = None,
    ) -> HttpResponse:
        words = ([] if method == "GET" else [method]) + (["via"] if via else []) + [url]
        found: HttpResponse = self._given(self.answers.get(" ".join(words)), refused())
        return found

    def worker_status(self, address: Address) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._given(self.workers.get(address), refused())
        return found

    def key_policy(self, arn: str, region: str) -> str:
        found: str = self._given(self.policies.get(f"{arn} {region}"), absent())
        return found

    def _given(self, found: Given, otherwise: Exception) -> Any:
        self.before()
        found = otherwise if found is None else found
        if isinstance(found, Exception):
            raise found
        return found


def healthy() -> FakeHost:
    """An instance on which everything works."""
    units = (
        "nitro-enclaves-allocator.service",
        "blindgate-vsock-proxy.service",
        "blindgate-enclave@blue.service",
        "blindgate-gateway.service",
    )
    pages = "/sys/kernel/mm/hugepages/hugepages-"
    return FakeHost(
        files={
            "/etc/blindgate/host.env": f"BLINDGATE_REGION={REGION}\nBLINDGATE_KMS_HOST={KMS}\n",
            "/etc/blindgate/gateway.env": (
                "BLINDGATE_HOST=0.0.0.0\nBLINDGATE_PORT=8080\n"
                "BLINDGATE_ENCLAVES=vsock://16:5005\nBLINDGATE_PCRS=/etc/blindgate/pcrs/blue.json\n"
                f"BLINDGATE_RATE_LIMIT_STORAGE=rediss://:{SECRET}@redis:6379/0\n"
            ),
            "/etc/blindgate/enclave-blue.env": (
                f"BLINDGATE_EIF={EIF}\nBLINDGATE_CID=16\nBLINDGATE_CPUS=2\nBLINDGATE_MEMORY=2048\n"
            ),
            "/etc/blindgate/pcrs/blue.json": measured(),
            "/etc/blindgate/vsock-proxy.yaml": f"allowlist:\n  - {{address: {KMS}, port: 443}}\n",
            "/etc/nitro_enclaves/allocator.yaml": "---\nmemory_mib: 2048\ncpu_count: 2\n",
            "/sys/module/nitro_enclaves/parameters/ne_cpus": "1,3\n",
            "/proc/bus/pci/devices": "0018\t1d0fe4c1\t0\tfebf4004\n",
            f"{pages}2048kB/nr_hugepages": "0\n",
            f"{pages}2048kB/free_hugepages": "0\n",
            f"{pages}1048576kB/nr_hugepages": "2\n",
            f"{pages}1048576kB/free_hugepages": "0\n",
            EIF: image(),
        },
        nodes={"/dev/nitro_enclaves": Node(stat.S_IFCHR | 0o660, "ne")},
        commands={
            "id -nG blindgate-enclave": Done(0, "blindgate-enclave ne\n"),
            "chronyc -c tracking": Done(0, "A9FEA97B,169.254.169.123,4,1.0,0.0,0.0,0.0,Normal\n"),
            DESCRIBE: described(enclave()),
            **{show(name): unit() for name in units},
        },
        names={KMS: ("10.0.3.7", "10.0.4.9")},
        answers={
            f"PUT {IMDS}/latest/api/token": HttpResponse(200, {}, b"imds-token"),
            ROLE: HttpResponse(200, {}, b"blindgate-instance\n"),
            f"{ROLE}blindgate-instance": credentials(),
            PROXIED: dated(),
            DIRECT: dated(),
            READY: HttpResponse(200, {}, b'{"ready":true,"enclaves":{"ready":1}}'),
        },
        workers={
            WORKER: {
                "ready": True,
                "draining": False,
                "needs_credentials": False,
                "model": {"name": "ssd"},
            }
        },
        policies={f"{KEY} {REGION}": policy()},
    )
