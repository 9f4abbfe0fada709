"""Starts the stack, measures what it can do, then asks for four times that."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.load import jobs
from bench.load.photos import make_photos
from bench.load.processes import cpu_seconds, memory
from bench.load.targets import Target, blindgate_targets, start_stack, write_envelopes
from bench.load.wire import Message
from bench.overload.arrivals import Answer, arrive
from bench.overload.verdict import Verdict, judge
from devstack.model import obtain
from devstack.stack import WORKER_ENVIRONMENT
from devstack.supervisor import Supervisor

_PHOTO: Final = "300 KB"
#: Twice the wait in a full queue of 256 on two cores; what takes longer must end as a 504.
DEADLINE: Final = 10.0
#: Seconds beyond its deadline after which a request counts as never answered.
_GRACE: Final = 5.0
_CONCURRENCY: Final = 8


@dataclass(frozen=True, slots=True)
class Overloaded:
    """One run.

    Attributes:
        times: How many times the capacity was asked for.
        seconds: For how long.
        sent: Requests.
        before: Right answers a second at 8 concurrent, before the run.
        after: The same after it.
        recovery: Seconds that the first request after the run took.
        verdict: What came of the requests.
        memory: Bytes of gateway and worker together: each second of the run.
        cpu: CPU seconds of the gateway in the run.
    """

    times: float
    seconds: float
    sent: int
    before: float
    after: float
    recovery: float
    verdict: Verdict
    memory: tuple[int, ...]
    cpu: float

    @property
    def capacity(self) -> float:
        """Right answers a second that the stack gives to clients that wait."""
        return (self.before + self.after) / 2

    @property
    def goodput(self) -> float:
        """Right answers a second under overload."""
        return self.verdict.right / self.seconds


def run(times: float, seconds: float, said: Callable[[str], None]) -> Overloaded:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bg-overload-") as folder:
        return asyncio.run(_run(times, seconds, said, Path(folder)))


def message(envelope: bytes, deadline: float) -> Message:
    """An envelope that must be answered within a number of seconds."""
    head = (
        "POST /v1/detections HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/octet-stream\r\nrequest-timeout: {deadline:g}\r\n"
        f"content-length: {len(envelope)}\r\n\r\n"
    )
    return Message(head.encode("ascii"), envelope)


async def _run(
    times: float, seconds: float, said: Callable[[str], None], folder: Path
) -> Overloaded:
    os.environ.update(WORKER_ENVIRONMENT)
    loop = asyncio.get_running_loop()
    photo = make_photos()[_PHOTO]
    file = folder / "photo.jpg"
    file.write_bytes(photo.data)
    model = await asyncio.to_thread(obtain)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as asker:
        expected = await loop.run_in_executor(asker, jobs.answer_of, model, file)
        async with Supervisor(None) as supervisor:
            said("starting Blindgate")
            places, running = await start_stack(folder / "stack", model, supervisor)
            envelopes = await asyncio.to_thread(
                write_envelopes, places, running, folder, [photo], 1
            )
            # Envelopes with a cached data key: they can be sent over and over, unsealed photos
            # of a minute would not fit into memory.
            target = blindgate_targets(running, envelopes)[1]

            async def closed(count: int) -> jobs.Measured:
                job = replace(
                    target.job,
                    photo=file,
                    expected=expected,
                    count=count,
                    concurrency=min(_CONCURRENCY, count),
                    envelopes=target.envelopes[_PHOTO],
                )
                return await loop.run_in_executor(asker, jobs.ask, job)

            said("measuring the capacity")
            await closed(4 * _CONCURRENCY)
            warm = await closed(8 * _CONCURRENCY)
            count = max(8 * _CONCURRENCY, int(warm.rate * min(seconds / 4, 10)))
            before = await closed(count)
            rate = before.rate * times
            said(f"{before.rate:.1f} images/s; sending {rate:.1f} a second for {seconds:.0f} s")
            cpu = cpu_seconds(target.pids[:1])
            sending = loop.run_in_executor(
                asker,
                arrive,
                target.job.port,
                [message(target.envelopes[_PHOTO][0].read_bytes(), DEADLINE)],
                rate,
                seconds,
                DEADLINE + _GRACE,
            )
            used = await _watch(target, sending)
            answers = await sending
            cpu = cpu_seconds(target.pids[:1]) - cpu
            said("measuring the capacity again")
            first = await closed(1)
            after = await closed(count)
            places.tidy()
    return Overloaded(
        times,
        seconds,
        len(answers),
        before.rate,
        after.rate,
        first.seconds,
        judge(answers, expected, seconds),
        tuple(used),
        cpu,
    )


async def _watch(target: Target, sending: asyncio.Future[list[Answer]]) -> list[int]:
    """The memory of gateway and worker, each second until the last answer."""
    used = []
    while not sending.done():
        used.append(memory(target.pids))
        await asyncio.wait([sending], timeout=1.0)
    return used
