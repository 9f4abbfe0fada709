"""The stack, piece by piece: each of its programs can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from blindgate.attestation import PcrSet, Root, Trust
from blindgate.client import Blindgate
from blindgate.envelope.encryption_sdk import encrypt
from devstack.measure import measure
from devstack.places import Places
from devstack.stack import Options, Running, Stack, free_port, kms_client
from devstack.supervisor import Program, Supervisor
from tests.faults.proxies import KmsFaults, LinkFaults

T = TypeVar("T")

#: Watches closely, so that the tests are short; the defaults are 2 s and 5 s.
GATEWAY = {
    "BLINDGATE_PROBE_PERIOD": "0.5",
    "BLINDGATE_PROBE_PATIENCE": "2",
    "BLINDGATE_UPLOAD_GRACE": "1",
    "BLINDGATE_HEAD_TIMEOUT": "1",
    "BLINDGATE_DRAIN_SECONDS": "10",
}


class FaultyStack(Stack):
    """The stack with a proxy before KMS that can fail."""

    def __init__(self, places: Places, options: Options, supervisor: Supervisor) -> None:
        super().__init__(places, options, supervisor)
        self.kms_faults = KmsFaults(places.kms / "tls", self._kms_port)
        self._faults_port = free_port()

    async def start_faults(self) -> None:
        """Once the dev KMS has its certificate."""
        self._faults_port = await self.kms_faults.start()

    def proxy(self) -> Program:
        """The worker's way out, to the failing proxy."""
        program = super().proxy()
        command = [*program.command[:-1], f"127.0.0.1:{self._faults_port}"]
        return replace(program, command=command)

    def nsm(self) -> list[Program]:
        """With the certificate there, the failing proxy can be started too."""
        return super().nsm()

    def gateway(self) -> Program:
        """The gateway, watching closely."""
        program = super().gateway()
        return replace(program, environment={**program.environment, **GATEWAY})


@dataclass(frozen=True)
class Gateway:
    """A further gateway."""

    url: str
    name: str


class Rig:
    """Everything of one stack, driven from a test's own thread.

    Args:
        folder: Its files.
        model: The detector's folder.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self.places = Places.prepare(folder)
        self._model = model
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.supervisor = Supervisor(None)
        self.stack = FaultyStack(
            self.places, Options(model=model, gateway_port=0, kms_port=0), self.supervisor
        )
        self.running: Running
        self._programs: dict[str, Program] = {}

    def start(self) -> None:
        """Start all of it."""
        self.running = self.do(self._start())

    async def _start(self) -> Running:
        original = self.supervisor.start

        async def start(program: Program) -> None:
            self._programs[program.name] = program
            await original(program)
            if program.name == "nsm":  # the dev KMS has its certificate by now
                await self.stack.start_faults()

        self.supervisor.start = start  # type: ignore[method-assign]
        return await self.stack.start()

    def stop(self) -> None:
        """Stop all of it."""
        self.do(self.supervisor.stop())
        self.do(self.stack.kms_faults.stop())
        self.stack.stopped()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
        """Run something on the rig's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    # Its programs

    def pid(self, name: str) -> int:
        """The process id of a program."""
        return self.supervisor.pids[name]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a program by a signal and wait for it."""
        self.do(self.supervisor.kill(name, number))

    def restart(self, name: str) -> None:
        """Start a program that was killed."""
        self.do(self.supervisor.start(self._programs[name]))

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Have a program do nothing for the time of the block."""
        os.kill(self.pid(name), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(name), signal.SIGCONT)

    @contextmanager
    def further_worker(self, name: str, *, measured: bool = True) -> Iterator[Path]:
        """One more worker with a module of its own; yields its PCR file.

        Args:
            name: Of the worker and its socket.
            measured: False has the module say that it is another image.
        """
        state = self.places.state / name
        state.mkdir(exist_ok=True)
        text = self.places.config.read_text()
        for socket in ("worker", "nsm"):
            old = self.places.socket(socket)
            text = text.replace(f'"{old}"', f'"{self.places.socket(f"{name}-{socket}")}"')
        config, pcrs = state / "enclave.toml", state / f"{name}.json"
        config.write_text(text)
        (state / "ca.pem").write_bytes((self.places.state / "ca.pem").read_bytes())
        measure(config).write(pcrs)
        allowed = pcrs.read_text()
        if not measured:
            pcrs.write_text(allowed.replace(allowed.split('"PCR0": "')[1][:8], "deadbeef"))
        nsm = self._programs["nsm"]
        moved = [
            {
                str(self.places.sockets / "nsm"): str(self.places.sockets / f"{name}-nsm"),
                str(self.places.pcrs): str(pcrs),
            }.get(part, part)
            for part in nsm.command
        ]
        self.do(self.supervisor.start(Program(f"{name}-nsm", moved, _always)))
        _wait_for(self.places.sockets / f"{name}-nsm")
        worker = self._programs["worker"]
        command = [*worker.command[:-1], str(config)]
        self.do(self.supervisor.start(replace(worker, name=name, command=command, ready=_always)))
        _wait_for(self.places.sockets / f"{name}-worker")
        try:
            yield pcrs
        finally:
            self.kill(name)
            self.kill(f"{name}-nsm")

    @contextmanager
    def further_gateway(
        self, addresses: list[str], *, pcrs: list[Path] | None = None, **environment: str
    ) -> Iterator[Gateway]:
        """One more gateway, for enclaves of its own."""
        port = free_port()
        program = self._programs["gateway"]
        told = {
            **program.environment,
            "BLINDGATE_PORT": str(port),
            "BLINDGATE_ENCLAVES": ",".join(addresses),
            "BLINDGATE_PCRS": ",".join(map(str, pcrs or [self.places.pcrs])),
            **environment,
        }
        gateway = Gateway(f"http://127.0.0.1:{port}", f"gateway-{port}")
        self.do(
            self.supervisor.start(
                replace(program, name=gateway.name, environment=told, ready=_serving(gateway.url))
            )
        )
        try:
            yield gateway
        finally:
            if gateway.name in self.supervisor.pids:
                self.kill(gateway.name)

    @contextmanager
    def link_faults(self) -> Iterator[tuple[LinkFaults, str]]:
        """A proxy to the worker that can lose connections, and its address."""
        path = self.places.sockets / "link"
        faults = LinkFaults(path, self.places.sockets / "worker")
        self.do(faults.start())
        try:
            yield faults, f"unix://{path}"
        finally:
            self.do(faults.stop())

    # Its users

    def trust(self, *pcrs: Path) -> Trust:
        """What a client trusts here."""
        root = Root.from_pem(self.places.nsm_root.read_bytes())
        return Trust(root, tuple(PcrSet.from_file(path) for path in pcrs or (self.places.pcrs,)))

    def client(self, url: str = "", *pcrs: Path) -> Blindgate:
        """A client that seals."""
        return Blindgate(url or self.running.gateway, trust=self.trust(*pcrs))

    def envelope(self, content: bytes) -> bytes:
        """An envelope under a data key of its own, so that the worker must ask KMS."""
        kms = kms_client(self.places, self.running.kms, "client")
        return encrypt(content, kms=kms, key_id=self.running.key_alias)


async def _always() -> bool:
    return True


def _serving(url: str) -> Any:
    async def check() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.get(url + "/readyz", timeout=5)).status_code == 200
            except httpx.TransportError:
                return False

    return check


def _wait_for(path: Path, seconds: float = 30) -> None:
    """Until a socket is there and listens."""
    from blindgate.link import DialError, UnixAddress
    from blindgate.link.dial import dial

    ends = time.monotonic() + seconds
    while True:
        try:
            dial(UnixAddress(str(path)), 1).close()
            return
        except DialError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
