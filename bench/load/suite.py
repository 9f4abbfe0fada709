"""Runs all of it, round by round: starts every server, measures them in turn, ends them.

Where a process's memory lies in the caches stays as it is for as long as it runs, and moves a row
by 2 to 3 %. So each round has processes of its own, and the median is not one start's luck.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from bench.load import jobs
from bench.load.jobs import Job, Measured
from bench.load.photos import Photo, make_photos
from bench.load.processes import cpu_seconds, family, memory
from bench.load.results import BATCHED, LIMIT, Cell, Results, Sample, percentile
from bench.load.shapes import SHARED, Shape, pin, separate
from bench.load.targets import (
    FRESH_KEYS,
    Peers,
    Target,
    blindgate_targets,
    peer_python,
    start_stack,
    write_envelopes,
)
from devstack.model import obtain
from devstack.stack import WORKER_ENVIRONMENT
from devstack.supervisor import Supervisor
from enclave_app.scheduling.cores import usable_cores

T = TypeVar("T")

FP32: Final = "ssd-mobilenet-v2-coco"
#: Clients at once that keep everybody busy, and what others are compared with.
FEW: Final = 8
#: Clients at once that fill the gateway's queue (256 by default).
MANY: Final = 256
#: Clients at once that fill the queue and what the worker holds, and more.
CROWD: Final = 512
#: Seconds over which they come: clients do not begin in the same millisecond.
_ARRIVAL: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        rounds: How often each cell.
        seconds: About how long each sample takes.
        cells: Photos and concurrencies.
        envelopes: Whether envelopes under one data key are measured.
        fresh_keys: Whether envelopes with a data key each are, too.
        peers: Whether other servers are.
        overload: Whether many more clients than places are.
        fp32: Whether the model in full precision is measured too.
        separate: Whether all is measured again with the gateway and the worker on separate cores.
    """

    rounds: int
    seconds: float
    cells: tuple[Cell, ...]
    envelopes: bool = True
    fresh_keys: bool = True
    peers: bool = True
    overload: bool = True
    fp32: bool = True
    separate: bool = True


@dataclass(slots=True)
class Overload:
    """Many more clients than places: one figure a round.

    Attributes:
        rates: Right answers a second, by how many clients there were.
        refusals: Seconds until each refusal was there.
        failures: Anything else that was no right answer.
    """

    rates: dict[int, list[float]] = field(default_factory=dict)
    refusals: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, clients: int, done: Measured) -> None:
        """Keep one measurement."""
        self.rates.setdefault(clients, []).append(done.rate)
        self.refusals += done.refusals
        self.failures += done.failures

    def goodput(self, clients: int) -> float:
        """Right answers a second of so many clients, by those of 8: the median of all rounds."""
        pairs = zip(self.rates[clients], self.rates[FEW], strict=True)
        return statistics.median(many / few for many, few in pairs)

    @property
    def refusal_p99(self) -> float:
        """Seconds until a refusal is there."""
        return percentile(self.refusals, 0.99)


@dataclass(slots=True)
class Findings:
    """Everything that the report says.

    Attributes:
        photos: The files, as bytes and pixels.
        results: With the default model.
        fp32: With the one in full precision.
        separate: With the default model, the gateway and the worker on separate cores.
        memory: Bytes of resident memory after each round, by target and photo.
        missing: Peers that did not start, and why.
        overload: None if it was not measured.
        loads: The machine's load average before each round, a sign of who else used it.
    """

    photos: dict[str, Photo]
    results: Results = field(default_factory=Results)
    fp32: Results = field(default_factory=Results)
    separate: Results = field(default_factory=Results)
    memory: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    overload: Overload | None = None
    loads: list[float] = field(default_factory=list)


class Suite:
    """One run.

    Args:
        plan: What is measured.
        said: Told what happens.
        folder: For files that live as long as the run.
    """

    def __init__(self, plan: Plan, said: Callable[[str], None], folder: Path) -> None:
        self._plan = plan
        self._said = said
        self._folder = folder
        self._photos = make_photos()
        self._files: dict[str, Path] = {}
        self._envelopes: dict[str, tuple[Path, ...]] = {}
        self._rates: dict[tuple[str, str], float] = {}
        self._warm: set[tuple[str, str]] = set()
        self._sent = 0
        # Only so that nobody always follows the same one.
        self._order = random.Random(0)  # noqa: S311
        # The loop runs with the worker's allocator settings, so that it is the worker's limit.
        os.environ.update(WORKER_ENVIRONMENT)
        self._loop: ProcessPoolExecutor
        self._asker: ProcessPoolExecutor
        self.findings = Findings(self._photos)

    async def run(self) -> Findings:
        """Measure everything."""
        for number, photo in enumerate(self._photos.values()):
            self._files[photo.name] = self._folder / f"photo-{number}.jpg"
            self._files[photo.name].write_bytes(photo.data)
        findings = self.findings
        model = await asyncio.to_thread(obtain)
        for number in range(self._plan.rounds):
            self._said(f"round {number + 1}: starting Blindgate and its peers")
            async with self._servers(model, "stack", SHARED, everything=True) as targets:
                await self._round(number, model, targets, findings.results, findings.memory)
                if self._plan.overload:
                    findings.overload = findings.overload or Overload()
                    await self._crowd(model, targets[0], findings.overload)
        shape = separate(sorted(os.sched_getaffinity(0))) if self._plan.separate else None
        if shape is not None:
            self._rates.clear()
            for number in range(self._plan.rounds):
                self._said(f"round {number + 1} on {shape.name}: starting Blindgate and its peers")
                async with self._servers(model, "stack", shape, everything=True) as targets:
                    await self._round(number, model, targets, findings.separate, shape=shape)
        if self._plan.fp32:
            model = await asyncio.to_thread(obtain, FP32)
            self._rates.clear()
            for number in range(self._plan.rounds):
                self._said(f"round {number + 1} in full precision: starting Blindgate")
                async with self._servers(model, "fp32", SHARED, everything=False) as targets:
                    await self._round(number, model, targets, findings.fp32)
        return findings

    @contextlib.asynccontextmanager
    async def _servers(
        self, model: Path, name: str, shape: Shape, *, everything: bool
    ) -> AsyncIterator[list[Target]]:
        """Processes for one round: the loop's, the load generator's, and every server's."""
        context = multiprocessing.get_context("spawn")
        peers = Peers(peer_python(), model, self._folder, shape)
        self._warm.clear()
        with (
            ProcessPoolExecutor(1, context, pin, (shape.back,)) as self._loop,
            ProcessPoolExecutor(1, context, pin, (shape.front,)) as self._asker,
        ):
            async with Supervisor(None) as supervisor:
                places, running = await start_stack(self._folder / name, model, supervisor, shape)
                if everything and self._plan.envelopes and not self._envelopes:
                    self._said("encrypting envelopes")
                    needed = [p for p in self._photos.values() if self._is_used(p.name)]
                    count = FRESH_KEYS if self._plan.fresh_keys else 1
                    self._envelopes = await asyncio.to_thread(
                        write_envelopes, places, running, self._folder, needed, count
                    )
                targets = blindgate_targets(running, self._envelopes if everything else {})
                try:
                    if everything and self._plan.peers:
                        targets += await peers.start()
                    self.findings.missing |= peers.missing
                    for target in targets:
                        _signal(target, signal.SIGSTOP)
                    yield targets
                finally:
                    peers.stop()
                    places.tidy()

    def _is_used(self, photo: str) -> bool:
        return any(cell.photo == photo for cell in self._plan.cells)

    async def _round(
        self,
        number: int,
        model: Path,
        targets: list[Target],
        results: Results,
        held: dict[str, dict[str, list[int]]] | None = None,
        *,
        shape: Shape = SHARED,
    ) -> None:
        """Every cell once; `held` is told how much memory each target has after each photo."""
        expected = {
            name: await self._in(self._loop, jobs.answer_of, model, path)
            for name, path in self._files.items()
        }
        self.findings.loads.append(os.getloadavg()[0])
        for cell in self._plan.cells:
            self._said(f"round {number + 1}: {cell.photo}, {cell.concurrency} concurrent")
            threads = shape.threads(cell.concurrency, usable_cores())
            file = self._files[cell.photo]
            rate = self._rates.get((LIMIT, cell.photo), 30.0)
            count = max(8, int(rate * self._plan.seconds * threads / 2))
            done = await self._in(self._loop, jobs.loop, model, file, threads, count)
            self._rates[LIMIT, cell.photo] = done.rate * 2 / threads
            results.add(cell, LIMIT, _sample(done, done.client_cpu))
            if cell.concurrency > 1:
                done = await self._in(self._loop, jobs.loop, model, file, threads, count, True)
                results.add(cell, BATCHED, _sample(done, done.client_cpu))
            for target in self._order.sample(targets, len(targets)):
                with _awake(target):
                    sample = await self._sample(target, cell, expected[cell.photo])
                results.add(cell, target.name, sample)
                self._say_failures(target, sample.failures)
            if held is not None and cell.concurrency == self._most(cell.photo):
                for target in targets:
                    held.setdefault(target.name, {}).setdefault(cell.photo, []).append(
                        memory(target.pids)
                    )

    def _most(self, photo: str) -> int:
        return max(cell.concurrency for cell in self._plan.cells if cell.photo == photo)

    async def _sample(self, target: Target, cell: Cell, expected: bytes) -> Sample:
        key = (target.name, cell.photo)
        if key not in self._warm:  # the first requests are slower than any later one
            self._warm.add(key)
            await self._ask(target, cell.photo, expected, 16, 8)
            warm = await self._ask(target, cell.photo, expected, 24, 8)
            self._rates[key] = warm.rate or 10.0
        wanted = self._rates[key] * self._plan.seconds / (2 if cell.concurrency == 1 else 1)
        count = max(8, 2 * cell.concurrency, int(wanted))
        before = [cpu_seconds([pid]) for pid in target.pids]
        done = await self._ask(
            target, cell.photo, expected, count, cell.concurrency, comes_back=True
        )
        spent = [cpu_seconds([p]) - b for p, b in zip(target.pids, before, strict=True)]
        return _sample(done, sum(spent), spent[0])

    async def _ask(
        self,
        target: Target,
        photo: str,
        expected: bytes,
        count: int,
        concurrency: int,
        *,
        comes_back: bool = False,
        arrival: float = 0.0,
    ) -> Measured:
        job: Job = replace(
            target.job,
            photo=self._files[photo],
            expected=expected,
            count=count,
            concurrency=concurrency,
            envelopes=target.envelopes.get(photo, ()),
            first=self._sent,
            comes_back=comes_back,
            arrival=arrival,
        )
        self._sent += count
        return await self._in(self._asker, jobs.ask, job)

    async def _crowd(self, model: Path, target: Target, found: Overload) -> None:
        photo = next(iter(self._files))
        expected = await self._in(self._loop, jobs.answer_of, model, self._files[photo])
        rate = self._rates[target.name, photo]
        for clients in (FEW, MANY, CROWD):
            self._said(f"{clients} clients")
            crowd = clients == CROWD
            done = await self._ask(
                target,
                photo,
                expected,
                max(clients + 128, int(rate * self._plan.seconds)),
                clients,
                comes_back=crowd,
                arrival=_ARRIVAL if crowd else 0.0,
            )
            found.add(clients, done)
            self._say_failures(target, done.failures)

    def _say_failures(self, target: Target, failures: list[str]) -> None:
        for failure, times in Counter(failures).items():
            self._said(f"{target.name}: {times} times {failure}")

    async def _in(self, pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


def run(plan: Plan, said: Callable[[str], None]) -> Findings:
    """Measure a plan in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bg-bench-") as folder:
        return asyncio.run(Suite(plan, said, Path(folder)).run())


def _sample(done: Measured, cpu: float, front: float = 0.0) -> Sample:
    answered = max(len(done.latencies), 1)
    return Sample(
        rate=done.rate,
        cpu=cpu / answered,
        front_cpu=front / answered,
        client_cpu=done.client_cpu / answered,
        latencies=done.latencies,
        failures=done.failures,
        refused=len(done.refusals),
    )


@contextlib.contextmanager
def _awake(target: Target) -> Iterator[None]:
    """Let a target's processes run for the time of the block only."""
    _signal(target, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(target, signal.SIGSTOP)


def _signal(target: Target, number: signal.Signals) -> None:
    # A server that wakes up to look around takes CPU from the one that is measured.
    if target.frozen_when_idle:
        for pid in family(target.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
