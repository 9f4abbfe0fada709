"""Runs all of it: starts every server, measures them in turn, round by round."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from bench.load import jobs
from bench.load.jobs import Job, Measured
from bench.load.photos import Photo, make_photos
from bench.load.processes import cpu_seconds, family, memory
from bench.load.results import BATCHED, LIMIT, Cell, Results, Sample, percentile
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

T = TypeVar("T")

FP32: Final = "ssd-mobilenet-v2-coco"
#: Clients at once that fill the gateway's queue (256 by default) and what the worker holds.
_CROWD: Final = 512
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
    """

    rounds: int
    seconds: float
    cells: tuple[Cell, ...]
    envelopes: bool = True
    fresh_keys: bool = True
    peers: bool = True
    overload: bool = True
    fp32: bool = True


@dataclass(slots=True)
class Overload:
    """Many more clients than places.

    Attributes:
        goodput: Right answers a second at 256 concurrent, by that at 8.
        crowd_goodput: The same with more clients than the gateway lets wait.
        refused: How many requests were refused then.
        refusal_p99: Seconds until a refusal is there.
        failures: Anything else that was no right answer.
    """

    goodput: float
    crowd_goodput: float
    refused: int
    refusal_p99: float
    failures: list[str]


@dataclass(slots=True)
class Findings:
    """Everything that the report says.

    Attributes:
        photos: The files, as bytes and pixels.
        results: With the default model.
        fp32: With the one in full precision.
        memory: Bytes of resident memory after the first round, by target and photo.
        missing: Peers that did not start, and why.
        overload: See there.
        loads: The machine's load average before each round, a sign of who else used it.
    """

    photos: dict[str, Photo]
    results: Results = field(default_factory=Results)
    fp32: Results = field(default_factory=Results)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
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
        self._rates: dict[tuple[str, str], float] = {}
        self._sent = 0
        context = multiprocessing.get_context("spawn")
        # The loop runs with the worker's allocator settings, so that it is the worker's limit.
        os.environ.update(WORKER_ENVIRONMENT)
        self._loop = ProcessPoolExecutor(1, mp_context=context)
        self._asker = ProcessPoolExecutor(1, mp_context=context)
        self.findings = Findings(self._photos)

    async def run(self) -> Findings:
        """Measure everything."""
        for number, photo in enumerate(self._photos.values()):
            self._files[photo.name] = self._folder / f"photo-{number}.jpg"
            self._files[photo.name].write_bytes(photo.data)
        with self._loop, self._asker:
            await self._default_model()
            if self._plan.fp32:
                await self._full_precision()
        return self.findings

    async def _default_model(self) -> None:
        model = await asyncio.to_thread(obtain)
        peers = Peers(peer_python(), model, self._folder)
        async with Supervisor(None) as supervisor:
            self._said("starting Blindgate")
            places, running = await start_stack(self._folder / "stack", model, supervisor)
            envelopes = {}
            if self._plan.envelopes:
                self._said("encrypting envelopes")
                needed = [p for p in self._photos.values() if self._is_used(p.name)]
                count = FRESH_KEYS if self._plan.fresh_keys else 1
                envelopes = await asyncio.to_thread(
                    write_envelopes, places, running, self._folder, needed, count
                )
            targets = blindgate_targets(running, envelopes)
            try:
                if self._plan.peers:
                    self._said("starting the peers")
                    targets += await peers.start()
                self.findings.missing = peers.missing
                await self._rounds(model, targets, self.findings.results)
                if self._plan.overload:
                    self.findings.overload = await self._overload(model, targets[0])
            finally:
                peers.stop()
            places.tidy()

    async def _full_precision(self) -> None:
        model = await asyncio.to_thread(obtain, FP32)
        async with Supervisor(None) as supervisor:
            self._said("starting Blindgate with the model in full precision")
            places, running = await start_stack(self._folder / "fp32", model, supervisor)
            self._rates.clear()
            await self._rounds(model, blindgate_targets(running, {}), self.findings.fp32)
            places.tidy()

    def _is_used(self, photo: str) -> bool:
        return any(cell.photo == photo for cell in self._plan.cells)

    async def _rounds(self, model: Path, targets: list[Target], results: Results) -> None:
        for target in targets:
            _signal(target, signal.SIGSTOP)
        expected = {
            name: await self._in(self._loop, jobs.answer_of, model, path)
            for name, path in self._files.items()
        }
        order = random.Random(0)  # noqa: S311 - only so that nobody always follows the same one
        for number in range(self._plan.rounds):
            self.findings.loads.append(os.getloadavg()[0])
            for cell in self._plan.cells:
                self._said(f"round {number + 1}: {cell.photo}, {cell.concurrency} concurrent")
                threads = min(cell.concurrency, len(os.sched_getaffinity(0)))
                file = self._files[cell.photo]
                rate = self._rates.get((LIMIT, cell.photo), 30.0)
                count = max(8, int(rate * self._plan.seconds * threads / 2))
                done = await self._in(self._loop, jobs.loop, model, file, threads, count)
                self._rates[LIMIT, cell.photo] = done.rate * 2 / threads
                results.add(cell, LIMIT, _sample(done, done.client_cpu))
                if threads > 1:
                    done = await self._in(self._loop, jobs.loop, model, file, threads, count, True)
                    results.add(cell, BATCHED, _sample(done, done.client_cpu))
                for target in order.sample(targets, len(targets)):
                    with _awake(target):
                        sample = await self._sample(target, cell, expected[cell.photo])
                    results.add(cell, target.name, sample)
                    for failure in dict.fromkeys(sample.failures):
                        times = sample.failures.count(failure)
                        self._said(f"{target.name}: {times} times {failure}")
                    if not number and results is self.findings.results:
                        held = self.findings.memory.setdefault(target.name, {})
                        held[cell.photo] = memory(target.pids)

    async def _sample(self, target: Target, cell: Cell, expected: bytes) -> Sample:
        key = (target.name, cell.photo)
        if key not in self._rates:  # the first requests are slower than any later one
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

    async def _overload(self, model: Path, target: Target) -> Overload:
        photo = next(iter(self._files))
        expected = await self._in(self._loop, jobs.answer_of, model, self._files[photo])
        rate = self._rates[target.name, photo]
        failures: list[str] = []
        rates: dict[int, list[float]] = {8: [], 256: [], _CROWD: []}
        refusals: list[float] = []
        for _ in range(self._plan.rounds):
            for concurrency, seen in rates.items():
                self._said(f"{concurrency} clients")
                count = max(concurrency + 128, int(rate * self._plan.seconds))
                crowd = concurrency == _CROWD
                done = await self._ask(
                    target,
                    photo,
                    expected,
                    count,
                    concurrency,
                    comes_back=crowd,
                    arrival=_ARRIVAL if crowd else 0.0,
                )
                seen.append(done.rate)
                refusals += done.refusals
                failures += done.failures
        best = max(rates[8])
        middle = {key: sorted(seen)[len(seen) // 2] for key, seen in rates.items()}
        return Overload(
            middle[256] / (middle[8] or best),
            middle[_CROWD] / (middle[8] or best),
            len(refusals),
            percentile(refusals, 0.99),
            failures,
        )

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
