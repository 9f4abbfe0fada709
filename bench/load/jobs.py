"""One measurement each, run in a process of its own that does nothing else meanwhile."""

from __future__ import annotations

import base64
import functools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from bench.load.generator import OVERLOADED, Run, run
from bench.load.wire import Message, post
from blindgate import routes
from blindgate.sealing import bhttp, keys, ohttp, padding
from blindgate.sealing.errors import SealingError
from enclave_app.detector import Detector
from enclave_app.detector.detector import DetectionRequest

Kind = Literal["photo", "v2", "sealed", "files"]
_V2_INPUT = {"name": "image", "shape": [1], "datatype": "BYTES"}


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where.

    Attributes:
        port: Of the server.
        kind: How the photo travels: as it is, in V2 JSON, sealed, or in envelopes on disk.
        path: Of the endpoint.
        photo: File of the photo.
        expected: The answer that the bare detector gives.
        count: Requests.
        concurrency: Requests at any time.
        envelopes: Files that hold the photo encrypted, used in turn.
        first: Which envelope comes first.
        keys: The enclave's `application/ohttp-keys`.
        comes_back: Whether a request is sent again that was refused, when Retry-After says.
        arrival: Seconds over which the clients begin.
    """

    port: int
    kind: Kind
    path: str
    photo: Path
    expected: bytes
    count: int
    concurrency: int
    envelopes: tuple[Path, ...] = ()
    first: int = 0
    keys: bytes = b""
    comes_back: bool = False
    arrival: float = 0.0


@dataclass(slots=True)
class Measured:
    """What came of it.

    Attributes:
        seconds: From the first request to the last answer.
        latencies: Seconds of each request that was answered with 200.
        refusals: Seconds of each 503.
        failures: Answers of any other status, and those that are not what the detector says.
        client_cpu: CPU seconds of whoever asked.
    """

    seconds: float
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    client_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds


def ask(job: Job) -> Measured:
    """Prepare the requests, send them, then look at every answer."""
    messages, read = _prepare(job)
    done = run(job.port, messages, job.concurrency, comes_back=job.comes_back, arrival=job.arrival)
    return _judge(done, read, job)


def loop(model: Path, photo: Path, threads: int, count: int, in_batches: bool = False) -> Measured:
    """The limit: the same detector in a loop on each of some threads, and nothing else.

    Args:
        model: The detector's folder.
        photo: Its file.
        threads: How many loops.
        count: How often the photo is looked at.
        in_batches: Whether one run of the network takes as many photos as it can.
    """
    detector, image = _detector(model), photo.read_bytes()
    together = [DetectionRequest(image)] * (detector.batch if in_batches else 1)
    left = iter(range(0, count, len(together)))
    lock = threading.Lock()
    latencies: list[float] = []

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            began = time.perf_counter()
            for found in detector.detect_batch(together):
                if isinstance(found, Exception):
                    raise found
                found.to_json()
                latencies.append(time.perf_counter() - began)

    cpu, started = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
    seconds = time.perf_counter() - started
    return Measured(seconds, latencies, client_cpu=time.process_time() - cpu)


def answer_of(model: Path, photo: Path) -> bytes:
    """What the detector says of a photo."""
    return _detector(model).detect(photo.read_bytes()).to_json()


@functools.lru_cache(maxsize=1)
def _detector(model: Path) -> Detector:
    return Detector.load(model)


Read = Callable[[int, bytes], bytes]


def _prepare(job: Job) -> tuple[list[Message], Read]:
    """The requests, and what turns the answer to each into JSON."""
    if job.kind == "sealed":
        return _seal(job)
    if job.kind == "files":
        bodies = [path.read_bytes() for path in job.envelopes]
        made = [post(job.path, body, "application/octet-stream") for body in bodies]
        return [made[(job.first + at) % len(made)] for at in range(job.count)], _as_it_is
    image = job.photo.read_bytes()
    if job.kind == "photo":
        return [post(job.path, image, "image/jpeg")] * job.count, _as_it_is
    data = {**_V2_INPUT, "parameters": {"content_type": "base64"}}
    inputs = [{**data, "data": [base64.b64encode(image).decode()]}]
    body = json.dumps({"inputs": inputs}).encode()
    return [post(job.path, body, "application/json")] * job.count, _from_v2


def message_of(photo: bytes) -> bytes:
    """What is sealed to have a photo looked at: Binary HTTP, of this second, padded."""
    date = (("date", formatdate(usegmt=True)),)
    plain = bhttp.Request("POST", "http", "localhost", "/v1/detections", date, photo).encode()
    return plain.ljust(padding.request_size(len(plain)), b"\0")


def _seal(job: Job) -> tuple[list[Message], Read]:
    config = keys.choose(keys.decode_list(job.keys))
    message = message_of(job.photo.read_bytes())
    sealed = [ohttp.seal_request(config, message) for _ in range(job.count)]
    openers = [one.response for one in sealed]

    def read(number: int, body: bytes) -> bytes:
        answer = bhttp.decode_response(openers[number].open(body))
        return bytes(answer.content) if answer.status == 200 else b"status %d" % answer.status

    return [post(job.path, one.encapsulated, routes.OHTTP_REQUEST_TYPE) for one in sealed], read


def _as_it_is(_: int, body: bytes) -> bytes:
    return body


def _from_v2(_: int, body: bytes) -> bytes:
    text: str = json.loads(body)["outputs"][0]["data"][0]
    return text.encode()


def _judge(done: Run, read: Read, job: Job) -> Measured:
    measured = Measured(done.seconds, client_cpu=done.cpu)
    for outcome in done.outcomes:
        if outcome.status == OVERLOADED:
            measured.refusals.append(outcome.seconds)
        elif outcome.status != 200:
            measured.failures.append(f"status {outcome.status}")
        else:
            try:
                found = read(outcome.number, outcome.body)
            except SealingError as error:
                found = repr(error).encode()
            if found == job.expected:
                measured.latencies.append(outcome.seconds)
            else:
                measured.failures.append(f"answer {found[:80]!r}")
    return measured
