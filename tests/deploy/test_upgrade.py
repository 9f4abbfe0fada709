"""An upgrade on one instance, under load, with real processes: no request fails.

The last steps of docs/deploy.md: a key policy with both sets, green started, blue drained as
blindgate-enclave@.service drains it, a key policy with one set.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from blindgate.attestation import PcrSet, Root, Trust
from blindgate.client import Blindgate
from blindgate.envelope.encryption_sdk import encrypt
from blindgate.link import parse_address
from blindgate.policy.writer import write_policy
from devstack.kms.accounts import DevAccount
from devstack.measure import measure
from devstack.stack import ACCOUNT, free_port
from tests.deploy import terraform as tf
from tests.e2e.live import LiveStack, live_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def enclave_unit() -> ModuleType:
    path = tf.ROOT / "deploy" / "systemd" / "enclave_unit.py"
    spec = importlib.util.spec_from_file_location("deploy_enclave_unit", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Enclave:
    """One image: its measurements, where its worker listens, and the processes that are it."""

    name: str
    config: Path
    pcrs: PcrSet
    address: str


class Host:
    """A parent instance beside a running dev KMS and vsock-proxy."""

    def __init__(self, stack: LiveStack, folder: Path, running: ExitStack) -> None:
        self.stack = stack
        self.folder = folder
        self.state = Path(stack.running.state)
        self._running = running
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "gateway.log"

    def build(self, name: str, threads: int) -> Enclave:
        """Another configuration is another image, and so other measurements."""
        text = (self.state / "enclave.toml").read_text()
        told = tomllib.loads(text)
        address = f"unix://{self.folder}/{name}"
        text = text.replace(told["listen"], address)
        text = text.replace(told["nsm"]["device"], f"unix://{self.folder}/{name}.nsm")
        text = text.replace(f"threads = {told['limits']['threads']}", f"threads = {threads}")
        config = self.state / f"{name}.toml"
        config.write_text(text)
        path = self.state / f"{name}.pcrs.json"
        measure(config).write(path)
        return Enclave(name, config, PcrSet.from_file(path), address)

    def policy(self, *enclaves: Enclave) -> None:
        names = DevAccount(ACCOUNT)
        policy = write_policy(
            pcr_sets=[each.pcrs for each in enclaves],
            roles=[names.parent],
            admins=[names.admin],
            owners=[names.client],
        )
        kms = self.stack.kms("admin")
        kms.put_key_policy(KeyId=self.stack.running.key_arn, Policy=json.dumps(policy))

    def start(self, enclave: Enclave) -> None:
        pcrs = str(self.state / f"{enclave.name}.pcrs.json")
        nsm = ["--socket", f"{self.folder}/{enclave.name}.nsm", "--root-dir", str(self.state)]
        self.spawn(f"{enclave.name}.nsm", "devstack.nsm", *nsm, "--pcrs", pcrs)
        wait_until((self.folder / f"{enclave.name}.nsm").exists)
        self.spawn(enclave.name, "enclave_app", "--config", str(enclave.config))

    def end(self, enclave: Enclave) -> None:
        self.processes[enclave.name].kill()
        self.processes[enclave.name].wait()

    def serve(self, *enclaves: Enclave) -> None:
        aws = self.state / "kms" / "aws"
        told = {
            "BLINDGATE_PORT": self.url.rsplit(":", 1)[-1],
            "BLINDGATE_ENCLAVES": ",".join(each.address for each in enclaves),
            "BLINDGATE_PCRS": ",".join(
                str(self.state / f"{each.name}.pcrs.json") for each in enclaves
            ),
            "BLINDGATE_ROOT": str(self.state / "root.pem"),
            "BLINDGATE_PROBE_PERIOD": "0.5",
            "AWS_CONFIG_FILE": str(aws / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials"),
            "AWS_PROFILE": "parent",
        }
        self.spawn("gateway", "gateway", environment=told)
        wait_until(self.is_ready)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def spawn(
        self, name: str, module: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes[name] = process
        self._running.callback(stop, process)

    def events(self) -> list[dict[str, Any]]:
        """What the gateway has logged."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def is_taking(self, enclave: Enclave) -> bool:
        return any(
            each["event"] == "enclave is ready" and each["enclave"] == enclave.address
            for each in self.events()
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=150)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)


class Load:
    """Clients that never stop asking: envelopes in the open, and sealed photos."""

    def __init__(self, url: str, envelope: bytes, photo: bytes, trust: Trust) -> None:
        self._url = url
        self._envelope = envelope
        self._photo = photo
        self._trust = trust
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.answered = {"open": 0, "sealed": 0}
        self.failures: list[str] = []

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [
            threading.Thread(target=self._repeat, args=(kind, client()))
            for kind, client in [("open", self._open)] * 2 + [("sealed", self._sealed)]
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def more(self, count: int = 5) -> None:
        """Wait until each kind has been answered this often again."""
        before = dict(self.answered)
        wait_until(lambda: all(self.answered[k] >= before[k] + count for k in before))

    def _repeat(self, kind: str, client: AbstractContextManager[Callable[[], str]]) -> None:
        with client as ask:
            while not self._stopped.is_set():
                failure = ask()
                with self._lock:
                    self.answered[kind] += 1
                    if failure:
                        self.failures.append(f"{kind}: {failure}")

    @contextmanager
    def _open(self) -> Iterator[Callable[[], str]]:
        with httpx.Client(base_url=self._url, timeout=300, trust_env=False) as client:

            def ask() -> str:
                answer = client.post(
                    "/v1/detections",
                    content=self._envelope,
                    headers={"content-type": "application/octet-stream"},
                )
                return "" if answer.status_code == 200 else answer.text

            yield ask

    @contextmanager
    def _sealed(self) -> Iterator[Callable[[], str]]:
        with Blindgate(self._url, trust=self._trust) as client:

            def ask() -> str:
                try:
                    client.detect(self._photo)
                except Exception as error:  # noqa: BLE001 - what a user would see is a failure
                    return f"{type(error).__name__}: {error}"
                return ""

            yield ask


@pytest.fixture
def host(everything: None) -> Iterator[Host]:
    # Paths of Unix sockets must be short.
    with tempfile.TemporaryDirectory(prefix="bg-up-") as folder, ExitStack() as running:
        stack = running.enter_context(live_stack())
        yield Host(stack, Path(folder), running)


def test_blue_becomes_green_and_no_request_fails(host: Host) -> None:
    blue, green = host.build("blue", threads=1), host.build("green", threads=2)
    assert blue.pcrs.values != green.pcrs.values
    host.policy(blue)
    host.start(blue)
    host.serve(blue, green)
    trust = Trust(Root.from_pem((host.state / "root.pem").read_bytes()), (blue.pcrs, green.pcrs))
    photo = coffee()
    envelope = encrypt(photo, kms=host.stack.kms(), key_id=host.stack.running.key_alias)

    with Load(host.url, envelope, photo, trust).running() as load:
        load.more()
        assert not host.is_taking(green)

        host.policy(blue, green)
        load.more()

        host.start(green)
        wait_until(lambda: host.is_taking(green))
        load.more()

        enclave_unit().drain(parse_address(blue.address), 30.0)
        host.end(blue)
        load.more()

        host.policy(green)
        load.more()

    assert load.failures == []
    assert min(load.answered.values()) >= 25


def coffee() -> bytes:
    return Path(str(files("skimage") / "data" / "coffee.png")).read_bytes()
