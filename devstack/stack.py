"""All of Blindgate on one machine: what runs, in which order, and how it is configured.

Five programs, each a process of its own, joined as in production:

    gateway ── frames ──> worker ── TLS ──> vsock-proxy ──> dev KMS
                             └── NSM protocol ──> dev NSM

The order is that of a real deployment too: a key, then an image that pins the key, then its
measurements, then the key policy that names them.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from blindgate.attestation import PcrSet
from blindgate.envelope.context import DEFAULT_CONTEXT
from blindgate.errors import BlindgateError
from blindgate.policy.writer import write_policy
from devstack.configuration import REGION, Configuration
from devstack.kms.accounts import DevAccount
from devstack.kms.provision import ensure_key
from devstack.measure import measure
from devstack.places import Places
from devstack.readiness import http_ok, tcp_port, unix_socket
from devstack.supervisor import Program, Supervisor

ACCOUNT: Final = "111122223333"
KEY_ALIAS: Final = "alias/blindgate-dev"
KMS_HOST: Final = f"kms.{REGION}.amazonaws.com"
GATEWAY_PORT: Final = 8080
KMS_PORT: Final = 4599


class StackError(BlindgateError):
    """The stack cannot be started."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ from one stack to another.

    Attributes:
        model: The folder of the detector.
        answers: Whether answers outside OHTTP are given; measured.
        gateway_port: Where the gateway listens on 127.0.0.1; 0 takes a free port.
        kms_port: The same for the dev KMS.
        sample_files: Whether files of the AWS sample are opened; measured.
        threads: Threads that compute, 0 for one a core; measured.
        enclave: What the worker runs in: a process here, or the real image on emulated hardware.
        architecture: Of the emulated hardware: `x86_64` or `arm64`.
    """

    model: Path
    answers: Literal["open", "sealed"] = "open"
    gateway_port: int = GATEWAY_PORT
    kms_port: int = KMS_PORT
    sample_files: bool = True
    threads: int = 0
    enclave: Literal["process", "emulated"] = "process"
    architecture: str = "x86_64"


@dataclass(frozen=True, slots=True)
class Running:
    """How to reach a stack that runs.

    Attributes:
        gateway: Base URL of the gateway.
        kms: Base URL of the dev KMS.
        key_alias: The key that the enclave may use.
        key_arn: The same key's ARN.
        state: The stack's folder.
        pids: Process ids by program.
    """

    gateway: str
    kms: str
    key_alias: str
    key_arn: str
    state: str
    pids: dict[str, int]

    @classmethod
    def read(cls, places: Places) -> Running | None:
        """What a stack has left in its folder, or None if none runs there."""
        try:
            found = cls(**json.loads(places.running.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return found if any(map(is_alive, found.pids.values())) else None

    def client_environment(self) -> dict[str, str]:
        """What makes AWS's tools speak to the dev KMS as the data owner, and ours to this stack."""
        aws = Path(self.state) / "kms" / "aws"
        return {
            "AWS_CONFIG_FILE": str(aws / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials"),
            "AWS_PROFILE": "client",
            # The variable wins over the file's own ca_bundle, so it must not name another one.
            "AWS_CA_BUNDLE": str(Path(self.state) / "kms" / "tls" / "ca.pem"),
            # No BLINDGATE_TRUST: a shell that forgets where it got that from would trust a root
            # that proves nothing.
            "BLINDGATE_DEV_ROOT": self.state,
            "BLINDGATE_GATEWAY": self.gateway,
        }


@dataclass(frozen=True, slots=True)
class Enclave:
    """How the worker is reached, and what its measured configuration says of its surroundings.

    Attributes:
        listen: Where it listens, as it sees it.
        address: The same as the gateway sees it.
        nsm: Its security module.
        clock_sources: Accepted besides the hypervisor's.
        kms: Its way to KMS, as it sees it.
        proxy: The Unix socket where that way comes out.
        model: The detector's folder, as it sees it.
    """

    listen: str
    address: str
    nsm: str
    clock_sources: tuple[str, ...]
    kms: str
    proxy: Path
    model: str


class Stack:
    """Starts the programs under a supervisor; the worker runs as a process.

    Args:
        places: Where its files are.
        options: What may differ.
        supervisor: Runs the programs.
    """

    def __init__(self, places: Places, options: Options, supervisor: Supervisor) -> None:
        self._places = places
        self._options = options
        self._supervisor = supervisor
        self._gateway_port = options.gateway_port or free_port()
        self._kms_port = options.kms_port or free_port()
        self._key_arn = ""

    async def start(self, said: Callable[[str], None] = lambda _: None) -> Running:
        """Start everything.

        Args:
            said: Told before each step.

        Raises:
            StackError: A port is taken, or the key cannot be set up.
            ProgramDied: A program ended; the message holds its last lines.
        """
        for port in (self._gateway_port, self._kms_port):
            check_port(port)
        said("dev KMS")
        await self._supervisor.start(self._kms())
        self._key_arn = await asyncio.to_thread(self._ensure_key)
        said("measuring the worker")
        await asyncio.to_thread(self.configure)
        await asyncio.to_thread(self._put_policy)
        said("dev NSM")
        for program in self.nsm():
            await self._supervisor.start(program)
        said("vsock-proxy")
        await self._supervisor.start(self.proxy())
        said("worker")
        await self._supervisor.start(self.worker())
        said("gateway")
        await self._supervisor.start(self.gateway())
        running = Running(
            gateway=f"http://127.0.0.1:{self._gateway_port}",
            kms=f"https://127.0.0.1:{self._kms_port}",
            key_alias=KEY_ALIAS,
            key_arn=self._key_arn,
            state=str(self._places.state),
            pids=self._supervisor.pids,
        )
        self._places.running.write_text(json.dumps(asdict(running), indent=2) + "\n")
        return running

    def stopped(self) -> None:
        """Forget what ran."""
        self._places.running.unlink(missing_ok=True)
        self._places.tidy()

    # What each program is told.

    def _kms(self) -> Program:
        places = self._places
        # The dev root exists before anybody asks KMS to trust it.
        _ensure_nsm_root(places.state)
        arguments = ["--listen", f"127.0.0.1:{self._kms_port}", "--folder", str(places.kms)]
        arguments += ["--nsm-root", str(places.nsm_root)]
        arguments += ["--region", REGION, "--account", ACCOUNT]
        return _python("kms", "devstack.kms", arguments, tcp_port(self._kms_port))

    def enclave(self) -> Enclave:
        """Where the worker is."""
        places = self._places
        return Enclave(
            listen=places.socket("worker"),
            address=places.socket("worker"),
            nsm=places.socket("nsm"),
            clock_sources=(),
            kms=places.socket("proxy"),
            proxy=places.sockets / "proxy",
            model=str(self._options.model),
        )

    def nsm(self) -> list[Program]:
        """The worker's security module, and what else must be there before the worker."""
        places = self._places
        path = str(places.sockets / "nsm")
        arguments = ["--socket", path, "--root-dir", str(places.state), "--pcrs", str(places.pcrs)]
        return [_python("nsm", "devstack.nsm", arguments, unix_socket(path))]

    def proxy(self) -> Program:
        """The worker's way out to KMS."""
        places = self._places
        allowlist = places.state / "vsock-proxy.yaml"
        allowlist.write_text(f"allowlist:\n  - {{address: {KMS_HOST}, port: 443}}\n")
        # 32 workers: vsock-proxy's own 4 let further connections wait in silence.
        path = str(self.enclave().proxy)
        arguments = ["-w", "32", "--config", str(allowlist), f"unix://{path}"]
        arguments += [KMS_HOST, "443", "--connect-to", f"127.0.0.1:{self._kms_port}"]
        return _python("vsock-proxy", "devstack.vsock_proxy", arguments, unix_socket(path))

    def worker(self) -> Program:
        """The enclave's program, as it would start in the enclave."""
        path = str(self._places.sockets / "worker")
        arguments = ["--config", str(self._places.config)]
        # An enclave has no environment of ours either: nothing but the measured file counts.
        return _python("worker", "enclave_app", arguments, unix_socket(path), WORKER_ENVIRONMENT)

    def gateway(self) -> Program:
        """The HTTP service, with the parent role's credentials in its environment."""
        places = self._places
        environment = {
            "BLINDGATE_PORT": str(self._gateway_port),
            "BLINDGATE_ENCLAVES": self.enclave().address,
            "BLINDGATE_PCRS": str(places.pcrs),
            "BLINDGATE_ROOT": str(places.nsm_root),
            "AWS_CONFIG_FILE": str(places.kms / "aws" / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(places.kms / "aws" / "credentials"),
            "AWS_PROFILE": "parent",
        }
        ready = http_ok(f"http://127.0.0.1:{self._gateway_port}/readyz")
        return _python("gateway", "gateway", [], ready, environment)

    def configure(self) -> None:
        """Write the measured configuration and measure the worker with it."""
        places, options, enclave = self._places, self._options, self.enclave()
        configuration = Configuration(
            listen=enclave.listen,
            nsm=enclave.nsm,
            kms=enclave.kms,
            model=enclave.model,
            key_arn=self._key_arn,
            clock_sources=enclave.clock_sources,
            answers=options.answers,
            sample_files=options.sample_files,
            threads=options.threads,
        )
        places.config.write_text(configuration.text())
        (places.state / "ca.pem").write_bytes((places.kms / "tls" / "ca.pem").read_bytes())
        self.measure()

    def measure(self) -> None:
        """Write the worker's measurements."""
        measure(self._places.config).write(self._places.pcrs)

    # The key, as an administrator sets it up.

    def _ensure_key(self) -> str:
        try:
            return ensure_key(self._admin(), KEY_ALIAS, _initial_policy())
        except ClientError as error:
            raise StackError(f"the dev KMS refused its administrator: {error}") from error
        except BotoCoreError as error:
            raise StackError(f"the dev KMS cannot be used: {error}") from error

    def _put_policy(self) -> None:
        names = DevAccount(ACCOUNT)
        policy = write_policy(
            pcr_sets=[PcrSet.from_file(self._places.pcrs)],
            roles=[names.parent],
            admins=[names.admin],
            owners=[names.client],
            # The sample's files carry no context; the enclave still demands it of all others.
            encryption_context=None if self._options.sample_files else DEFAULT_CONTEXT,
        )
        self._places.policy.write_text(json.dumps(policy, indent=2) + "\n")
        self._admin().put_key_policy(KeyId=self._key_arn, Policy=json.dumps(policy))

    def _admin(self) -> Any:
        return kms_client(self._places, f"https://127.0.0.1:{self._kms_port}", "admin")


#: glibc's allocator (mallopt(3)), as in the enclave image: few arenas keep a worker of many threads
#: small; bodies of 2 MiB and more go back to the system at once, and what is smaller stays, so
#: that decoding the next picture finds it. ONNX Runtime sends nothing to its vendor.
WORKER_ENVIRONMENT: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "2097152",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}


def kms_client(places: Places, endpoint: str, profile: str) -> Any:
    """A boto3 client of the dev KMS, as one of the dev account's principals."""
    from devstack.kms.principals import read_principals

    found = {
        each.principal_arn.rsplit("/", 1)[-1].removeprefix("blindgate-"): each
        for each in read_principals(places.kms / "principals.json")
    }[profile]
    return boto3.client(
        "kms",
        region_name=REGION,
        endpoint_url=endpoint,
        verify=str(places.kms / "tls" / "ca.pem"),
        aws_access_key_id=found.access_key_id,
        aws_secret_access_key=found.secret_access_key,
        aws_session_token=found.session_token,
        config=Config(retries={"total_max_attempts": 2}, connect_timeout=5, read_timeout=10),
    )


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(port: int, option: str = "") -> None:
    """See that a port can be used; 0 can.

    Args:
        port: The port.
        option: The option that chooses it, for the message.

    Raises:
        StackError: Another program listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"port {port} of 127.0.0.1 is taken ({error.strerror}). "
                f"Stop what listens there, or choose another port{option and ' with '}{option}"
            ) from error


def _initial_policy() -> dict[str, Any]:
    """Until the worker is measured, the administrator manages the key and nobody can use it."""
    names = DevAccount(ACCOUNT)
    nobody = PcrSet("nobody", dict.fromkeys(range(3), b"\xff" * 48))
    return write_policy(pcr_sets=[nobody], roles=[names.parent], admins=[names.admin])


def _ensure_nsm_root(state: Path) -> None:
    from devstack.nsm.root import DevRoot

    DevRoot.load_or_create(state)


def _python(
    name: str,
    module: str,
    arguments: list[str],
    ready: Callable[[], Any],
    environment: dict[str, str] | None = None,
) -> Program:
    return Program(name, [sys.executable, "-m", module, *arguments], ready, environment or {})
