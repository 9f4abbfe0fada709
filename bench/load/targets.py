"""What is measured: each server as something that takes jobs and whose processes are known."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import httpx

from bench.load.jobs import Job
from bench.load.photos import Photo
from bench.load.processes import family
from bench.load.shapes import SHARED, Shape, pinned
from bench.peers import options as peer_options
from blindgate.envelope.encryption_sdk import encrypt
from devstack.places import Places
from devstack.stack import Options, Running, Stack, free_port, kms_client
from devstack.supervisor import Program, Supervisor

SEALED: Final = "Blindgate, sealed"
#: Answered in the open: what sealing costs is to be little beside it.
ENVELOPE: Final = "Blindgate, envelope, key cached"
#: More wrapped keys than the worker's cache holds (256): used in turn, each needs KMS.
FRESH_KEYS: Final = 280
_PEER_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the tables.

    Attributes:
        name: Its name there.
        job: What to ask, but for the photo, the number and the concurrency.
        pids: The processes whose CPU and memory count.
        envelopes: Files to send by the photo's name.
        frozen_when_idle: Whether its processes are stopped while others are measured.
    """

    name: str
    job: Job
    pids: tuple[int, ...]
    envelopes: dict[str, tuple[Path, ...]]
    frozen_when_idle: bool


class QuietStack(Stack):
    """The stack with the logs of gateway and worker in a file, as a service manager keeps them.

    Read through a pipe by this program instead, they would take CPU from what is measured.

    Attributes:
        shape: The cores that they run on.
    """

    shape = SHARED

    def worker(self) -> Program:
        """The worker."""
        return self._prepared(super().worker(), self.shape.back)

    def gateway(self) -> Program:
        """The gateway."""
        return self._prepared(super().gateway(), self.shape.front)

    def _prepared(self, program: Program, cores: frozenset[int] | None) -> Program:
        log = str(self._places.state / f"{program.name}.log")
        shell = ["/bin/sh", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1', "sh", log]
        return replace(program, command=[*shell, *pinned(program.command, cores)])


async def start_stack(
    state: Path, model: Path, supervisor: Supervisor, shape: Shape = SHARED
) -> tuple[Places, Running]:
    """Start the whole of Blindgate on free ports."""
    places = Places.prepare(state)
    stack = QuietStack(places, Options(model=model, gateway_port=0, kms_port=0), supervisor)
    stack.shape = shape
    return places, await stack.start()


def write_envelopes(
    places: Places, running: Running, folder: Path, photos: Sequence[Photo], count: int
) -> dict[str, tuple[Path, ...]]:
    """Encrypt each photo `count` times, each under a data key of its own."""
    kms = kms_client(places, running.kms, "client")
    written: dict[str, tuple[Path, ...]] = {}
    for number, photo in enumerate(photos):
        paths = [folder / f"envelope-{number}-{at}" for at in range(count)]
        for path in paths:
            path.write_bytes(encrypt(photo.data, kms=kms, key_id=running.key_alias))
        written[photo.name] = tuple(paths)
    return written


def blindgate_targets(running: Running, envelopes: dict[str, tuple[Path, ...]]) -> list[Target]:
    """Sealed, and envelopes with one data key and with many."""
    with httpx.Client(base_url=running.gateway, trust_env=False) as client:
        ohttp_keys = client.get("/.well-known/ohttp-gateway").raise_for_status().content
    port = int(running.gateway.rpartition(":")[2])
    pids = (running.pids["gateway"], running.pids["worker"])
    job = Job(port, "sealed", "/.well-known/ohttp-gateway", Path(), b"", 0, 0, keys=ohttp_keys)
    files = replace(job, kind="files", path="/v1/detections")
    one_key = {name: paths[:1] for name, paths in envelopes.items()}
    found = [Target(SEALED, job, pids, {}, False)]
    if envelopes:
        found.append(Target(ENVELOPE, files, pids, one_key, False))
        if all(len(paths) >= FRESH_KEYS for paths in envelopes.values()):
            found.append(Target("Blindgate, envelope, KMS each", files, pids, envelopes, False))
    return found


class Peers:
    """Servers without confidentiality, in the environment of `locks/bench.txt`.

    Args:
        python: That environment's interpreter.
        model: The detector's folder.
        folder: For their logs and settings.
        shape: The cores that they run on.
    """

    def __init__(self, python: Path, model: Path, folder: Path, shape: Shape) -> None:
        self._cores = shape.back
        self._python = python
        self._model = model
        self._folder = folder
        self._running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        #: Those that did not start, and the last lines that they said.
        self.missing: dict[str, str] = {}

    async def start(self) -> list[Target]:
        """Start all that are installed; what does not come up is left out."""
        if not self._python.exists():
            self.missing["all peers"] = f"{self._python} is not there: make bench installs it"
            return []
        settings = self._folder / "mlserver"
        settings.mkdir(exist_ok=True)
        bento = ["bentoml", "serve", "bench.peers.bentoml_app:DetectorService"]
        started = [
            self._launch("FastAPI + threads", ["bench.peers.fastapi_app"]),
            self._launch("LitServe", ["bench.peers.litserve_app"]),
            self._launch("MLServer", ["bench.peers.mlserver_app", str(settings)]),
            self._launch("BentoML", [*bento, "--host", "127.0.0.1"]),
        ]
        found = [await self._ready(*each) for each in started]
        return [target for target in found if target is not None]

    def stop(self) -> None:
        """End them all."""
        for process, log in self._running:
            # Some start workers in sessions of their own, which killing a group would miss.
            for pid in family([process.pid]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            log.close()
        self._running.clear()

    def _launch(
        self, name: str, module: list[str]
    ) -> tuple[str, int, subprocess.Popen[bytes], Path]:
        port = free_port()
        arguments = module + (["--port", str(port)] if module[0] == "bentoml" else [])
        path = self._folder / f"{module[0].rpartition('.')[2]}.log"
        log = path.open("wb")
        process = subprocess.Popen(
            pinned([str(self._python), "-m", *arguments], self._cores),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(peer_options.__file__).parents[2]),
                peer_options.PORT_VARIABLE: str(port),
                peer_options.MODEL_VARIABLE: str(self._model),
                # None reports to its vendor about this machine.
                "BENTOML_DO_NOT_TRACK": "true",
                "ORT_DISABLE_TELEMETRY": "1",
            },
        )
        self._running.append((process, log))
        return name, port, process, path

    async def _ready(
        self, name: str, port: int, process: subprocess.Popen[bytes], log: Path
    ) -> Target | None:
        v2 = name == "MLServer"
        path = "/v2/models/detector/infer" if v2 else "/detect"
        probe = "/v2/models/detector/ready" if v2 else path
        ends = time.monotonic() + _PEER_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while process.poll() is None and time.monotonic() < ends:
                with contextlib.suppress(httpx.TransportError):
                    status = (await client.get(f"http://127.0.0.1:{port}{probe}")).status_code
                    # The others know no GET there, and say so once they serve.
                    if status == (200 if v2 else 405):
                        job = Job(port, "v2" if v2 else "photo", path, Path(), b"", 0, 0)
                        return Target(name, job, (process.pid,), {}, True)
                await asyncio.sleep(0.2)
        text = await asyncio.to_thread(log.read_text, errors="replace")
        self.missing[name] = text[-400:]
        return None


def peer_python() -> Path:
    """Where `make bench` puts the peers' environment: beside this one's interpreter."""
    return Path(sys.prefix) / "peers" / "bin" / "python"
