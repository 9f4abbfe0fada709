"""The proof: what the parent handles holds nothing of the picture, the key or the answer.

Every byte that goes into or out of the gateway and the vsock-proxy stand-in is recorded (HTTP,
link frames, the way to KMS, logs, metrics), and searched for what must not be there.
"""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from blindgate import problems
from blindgate.client import Blindgate
from blindgate.client.errors import ProblemError
from blindgate.client.trust import development
from blindgate.detections import Detections
from blindgate.envelope.encryption_sdk import encrypt
from devstack.model import obtain
from devstack.places import Places
from devstack.stack import Options, Running, Stack, free_port, kms_client
from devstack.supervisor import Program, Supervisor
from tests.e2e.live import wait_for_line
from tests.e2e.wiretap import Wiretap, disguises

pytestmark = pytest.mark.e2e

RUN = 24  # bytes: long enough that no run of ciphertext equals it by chance


class TappedStack(Stack):
    """A stack whose gateway and proxy are reached through wiretaps."""

    metrics_port = 0

    def proxy(self) -> Program:
        return _redirect(super().proxy(), "run/proxy", "run/proxy-tapped")

    def gateway(self) -> Program:
        program = super().gateway()
        self.metrics_port = free_port()
        changed = {
            "BLINDGATE_ENCLAVES": program.environment["BLINDGATE_ENCLAVES"] + "-tapped",
            "BLINDGATE_METRICS_PORT": str(self.metrics_port),
        }
        return replace(program, environment={**program.environment, **changed})


def _redirect(program: Program, old: str, new: str) -> Program:
    command = [part.replace(old, new) for part in program.command]
    path = next(part.removeprefix("unix://") for part in command if new in part)

    async def ready() -> bool:
        return Path(path).exists()

    return replace(program, command=command, ready=ready)


@dataclass
class Parent:
    """Everything that the parent instance handles."""

    running: Running
    places: Places
    http: Wiretap
    link: Wiretap
    kms: Wiretap
    log: io.StringIO
    metrics_port: int
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.http.port}"

    def handled(self) -> dict[str, bytes]:
        """What it has handled so far, by where."""
        wait_for_line(httpx.get(f"{self.url}/livez", timeout=120), self.log.getvalue)
        metrics = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=120)
        assert b"blindgate_requests_total{" in metrics.content
        return {
            "HTTP": self.http.heard,
            "link frames": self.link.heard,
            "the way to KMS": self.kms.heard,
            "logs": self.log.getvalue().encode(),
            "metrics": metrics.content,
        }


@pytest.fixture(scope="module")
def parent() -> Iterator[Parent]:
    with tempfile.TemporaryDirectory(prefix="bg-") as folder:
        places = Places.prepare(Path(folder))
        log = io.StringIO()
        started: list[tuple[Running, int]] = []
        ready, done = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()
        worker, proxy = str(places.sockets / "worker"), str(places.sockets / "proxy")
        link = Wiretap.unix(f"{worker}-tapped", worker)
        kms = Wiretap.unix(proxy, f"{proxy}-tapped")

        async def run() -> None:
            async with Supervisor(Console(file=log, width=10_000)) as supervisor:
                stack = TappedStack(
                    places, Options(obtain(), gateway_port=0, kms_port=0), supervisor
                )
                started.append((await stack.start(), stack.metrics_port))
                ready.set()
                await done.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        assert ready.wait(90), log.getvalue()
        ((running, metrics_port),) = started
        http = Wiretap.tcp(int(running.gateway.rsplit(":", 1)[1]))
        yield Parent(running, places, http, link, kms, log, metrics_port)
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
        for tap in (http, link, kms):
            tap.close()


@dataclass(frozen=True)
class Photo:
    """A photo with known objects and a canary in its metadata."""

    data: bytes
    pixels: bytes

    def runs(self) -> list[bytes]:
        """Runs of the file's bytes and of its pixels, from all over it."""
        places = range(100, len(self.data) - RUN, max(1, len(self.data) // 50))
        rows = range(0, len(self.pixels) - RUN, max(1, len(self.pixels) // 50))
        found = [self.data[at : at + RUN] for at in places]
        found += [self.pixels[at : at + RUN] for at in rows]
        # A flat area is no secret and may equal padding; what varies is.
        return [run for run in found if len(set(run)) > RUN // 3]


@pytest.fixture(scope="module")
def photo(coffee: Path) -> Photo:
    with Image.open(coffee) as opened:
        image = opened.convert("RGB")
        target = io.BytesIO()
        image.save(target, "JPEG", quality=90, comment=b"the canary sings only in the enclave")
        return Photo(target.getvalue(), image.tobytes())


def remembering_kms(parent: Parent) -> tuple[Any, list[bytes]]:
    """A data owner's KMS client, and the data keys that it will have been given."""
    kms = kms_client(parent.places, parent.running.kms, "client")
    data_keys: list[bytes] = []

    def remember(parsed: dict[str, Any], **_: Any) -> None:
        data_keys.append(parsed["Plaintext"])

    kms.meta.events.register("after-call.kms.GenerateDataKey", remember)
    return kms, data_keys


def secrets_of(found: Detections) -> list[bytes]:
    """Labels, scores and box corners as the answer's JSON spells them."""
    text = found.model_dump_json(include={"detections"})
    numbers = {number for number in re.findall(r"\d+\.\d+", text) if len(number) >= 6}
    labels = {each.label for each in found.detections}
    return [each.encode() for each in numbers | {f'"{label}"' for label in labels}]


def search(parent: Parent, secrets: list[bytes]) -> list[str]:
    """Where any of the secrets shows, in any disguise."""
    return [
        f"{secret[:24]!r} in {where}"
        for where, handled in parent.handled().items()
        for secret in secrets
        for form in (disguises(secret) if len(secret) >= RUN else [secret])
        if form in handled
    ]


def test_the_search_finds_what_is_there(parent: Parent, photo: Photo) -> None:
    """The proof is worth something only if it can fail."""
    run = photo.runs()[0]
    httpx.post(f"{parent.url}/v1/detections", content=b"x" + run + b"y")
    assert search(parent, [run])


def test_sealed_requests_show_nothing(parent: Parent, photo: Photo) -> None:
    with Blindgate(parent.url, trust=development(parent.places.state)) as client:
        found = client.detect(photo.data)
    assert {each.label for each in found.detections} >= {"cup"}
    secrets = [*secrets_of(found), *photo.runs()[1:], b"the canary sings only in the enclave"]
    assert len(secrets) > 50
    assert search(parent, secrets) == []


def test_envelopes_in_sealed_requests_show_neither_picture_nor_data_key(
    parent: Parent, photo: Photo
) -> None:
    kms, data_keys = remembering_kms(parent)
    envelope = encrypt(photo.data, kms=kms, key_id=parent.running.key_alias)
    with Blindgate(parent.url, trust=development(parent.places.state)) as client:
        found = client.detect(envelope)
    assert found.detections
    (data_key,) = data_keys
    secrets = [*secrets_of(found), *photo.runs()[1:], data_key]
    assert search(parent, secrets) == []


def test_an_open_answer_shows_the_answer_and_still_not_the_picture(
    parent: Parent, photo: Photo
) -> None:
    kms, data_keys = remembering_kms(parent)
    envelope = encrypt(photo.data, kms=kms, key_id=parent.running.key_alias)
    answer = httpx.post(
        f"{parent.url}/v1/detections",
        content=envelope,
        headers={"content-type": "application/octet-stream"},
        timeout=150,
    )
    assert answer.status_code == 200
    (data_key,) = data_keys
    assert search(parent, [*photo.runs()[1:], data_key]) == []
    # Neither logs nor metrics hold what the answer does.
    parts = parent.handled()
    told = parts["logs"] + parts["metrics"]
    assert [each for each in secrets_of(Detections.model_validate_json(answer.content))
            if each in told] == []  # fmt: skip


def test_answers_of_0_1_and_20_objects_are_of_equal_size(parent: Parent, photo: Photo) -> None:
    sizes: dict[int, int] = {}

    class Measuring(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "POST":
                response.read()
                sizes[-1] = len(response.content)
            return response

    grey = io.BytesIO()
    Image.fromarray(np.full((400, 600, 3), 127, np.uint8)).save(grey, "PNG")
    asked: list[tuple[bytes, dict[str, Any]]] = [
        (grey.getvalue(), {"min_score": 0.5}),
        (photo.data, {"max_detections": 1}),
        (photo.data, {"min_score": 0.0, "max_detections": 20}),
    ]
    with httpx.Client(transport=Measuring()) as http, Blindgate(
        parent.url, trust=development(parent.places.state), http=http
    ) as client:  # fmt: skip
        for content, options in asked:
            found = client.detect(content, **options)
            sizes[len(found.detections)] = sizes.pop(-1)
    assert sizes.keys() == {0, 1, 20}
    assert len(set(sizes.values())) == 1


def test_requests_that_fail_show_no_reason(parent: Parent, photo: Photo) -> None:
    notes = b"these notes are no picture at all, and nobody may read them"
    trust = development(parent.places.state)
    with Blindgate(parent.url, trust=trust) as client, pytest.raises(ProblemError) as refused:
        client.detect(notes)
    assert refused.value.type == problems.IMAGE_REJECTED.type
    assert refused.value.sealed
    assert search(parent, [notes, b"image-rejected"]) == []
