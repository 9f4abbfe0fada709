"""The very image that would run on Nitro hardware, on emulated hardware: nothing mocked inside.

The guest's kernel, NSM driver and vsock are the real ones. What signs is the dev NSM.
"""

from __future__ import annotations

import json
import platform
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from blindgate.attestation import PcrSet, Root, Trust, verify
from blindgate.client import Blindgate
from blindgate.detections import Detections
from blindgate.envelope.encryption_sdk import encrypt
from devstack.model import obtain
from enclave_image.eif import read
from enclave_image.errors import FetchFailed
from enclave_image.pcrs import measure
from tests.e2e.emulated import STEP_SECONDS, Emulated
from tests.e2e.live import live_stack

pytestmark = [
    pytest.mark.enclave,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="images are built on x86-64 Linux",
    ),
]

#: An emulated processor has no VNNI, so both sides run the model that every processor can.
MODEL = "ssd-mobilenet-v2-coco"
OCTETS = {"content-type": "application/octet-stream"}
SECONDS = 120.0


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    try:
        with Emulated.start(obtain(MODEL)) as live:
            yield live
    except FetchFailed as error:
        pytest.skip(f"the packages of the image or of the emulator cannot be had: {error}")


@pytest.fixture(scope="module")
def http(emulated: Emulated) -> Iterator[httpx.Client]:
    url = emulated.running.gateway
    with httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
        yield client


def trust(emulated: Emulated) -> Trust:
    root = Root.from_pem(emulated.places.nsm_root.read_bytes())
    return Trust(root, (PcrSet.from_file(emulated.places.pcrs),))


def envelope(emulated: Emulated, photo: bytes) -> bytes:
    return encrypt(photo, kms=emulated.kms(), key_id=emulated.running.key_alias)


def same(one: Detections, other: Detections) -> bool:
    """Equal but for the last digits: another processor rounds other sums."""
    pairs = list(zip(one.detections, other.detections, strict=True))
    return one.image == other.image and all(
        a.label == b.label
        and abs(a.score - b.score) < 1e-3
        and np.allclose(
            list(a.box.model_dump().values()), list(b.box.model_dump().values()), atol=0.5
        )
        for a, b in pairs
    )


def wait_until_ready(http: httpx.Client) -> None:
    ends = time.monotonic() + SECONDS
    while http.get("/readyz").status_code != 200:
        assert time.monotonic() < ends
        time.sleep(0.2)


@contextmanager
def heartbeat(emulated: Emulated) -> Iterator[list[bytes]]:
    """Answers as nitro-cli does, which calls an enclave failed that sends no heartbeat."""
    beats: list[bytes] = []
    path = emulated.stack.machine.host_port(9000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # It comes once the worker accepts connections.
        listener.settimeout(STEP_SECONDS)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                beats.append(connection.recv(1))
                connection.sendall(beats[-1])

        answering = threading.Thread(target=answer)
        answering.start()
        yield beats
        answering.join()
    path.unlink()


def test_the_attestation_shows_the_measurements_of_the_image(
    emulated: Emulated, http: httpx.Client
) -> None:
    measured = measure(read((emulated.places.state / "blindgate.eif").read_bytes()))
    nonce = b"n" * 16
    answer = http.get(
        "/v1/attestation",
        params={"nonce": "bm5ubm5ubm5ubm5ubm5ubg"},
        headers={"accept": "application/cose"},
    )
    assert answer.status_code == 200, answer.text
    attestation = verify(answer.content, trust=trust(emulated), nonce=nonce)
    assert attestation.pcrs[0] == measured.pcr0
    assert attestation.pcrs[1] == measured.pcr1
    assert attestation.pcrs[2] == measured.pcr2


def test_envelope_and_sealed_uploads_are_answered_as_by_the_process(
    emulated: Emulated, http: httpx.Client, coffee: Path
) -> None:
    photo = coffee.read_bytes()
    with live_stack("--model", MODEL) as process:
        reference = httpx.post(
            f"{process.url}/v1/detections",
            content=encrypt(photo, kms=process.kms(), key_id=process.running.key_alias),
            headers=OCTETS,
            timeout=SECONDS,
        )
        assert reference.status_code == 200, reference.text
    expected = Detections.model_validate_json(reference.content)
    assert "cup" in {each.label for each in expected.detections}

    opened = http.post("/v1/detections", content=envelope(emulated, photo), headers=OCTETS)
    assert opened.status_code == 200, opened.text
    assert same(Detections.model_validate_json(opened.content), expected)

    with Blindgate(emulated.running.gateway, trust=trust(emulated)) as client:
        assert same(client.detect(coffee), expected)


def test_the_guest_has_no_network_device_and_no_disk_to_write_to(emulated: Emulated) -> None:
    console = emulated.stack.machine.console.read_text(errors="replace")
    found = dict(
        line.removeprefix("init: ").split(": ", 1)
        for line in console.replace("\r", "").splitlines()
        if line.startswith("init: ") and ": " in line[6:]
    )
    assert found["network devices"].split() == ["lo"]
    assert found["disks"].split() == []
    kinds = {}
    for each in found["file systems"].split():
        path, kind, access = each.split(":")
        kinds[path] = (kind, access)
    assert kinds["/"] in {("rootfs", "ro"), ("tmpfs", "ro")}
    assert {kind for kind, _ in kinds.values()} <= {"rootfs", "tmpfs", "proc", "sysfs", "devtmpfs"}
    command = Path(f"/proc/{emulated.supervisor.pids['enclave']}/cmdline").read_bytes().decode()
    for device in ("-netdev", "-nic", "-drive", "-blockdev", "virtio-net", "virtio-blk", "virtfs"):
        assert device not in command


def test_a_machine_that_dies_mid_request_is_a_503_and_the_pool_recovers(
    emulated: Emulated, http: httpx.Client, coffee: Path
) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (3000, 4000, 3), np.uint8)
    large = BytesIO()
    Image.fromarray(noise).save(large, "JPEG", quality=80)
    content = envelope(emulated, large.getvalue())
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(http.post("/v1/detections", content=content, headers=OCTETS))

    asking = threading.Thread(target=ask)
    asking.start()
    ends = time.monotonic() + SECONDS
    # Decoding twelve megapixels takes an emulated processor seconds: it dies with work in hand.
    while "Decrypt by" not in emulated.printed().rpartition("GenerateDataKey by")[2]:
        assert time.monotonic() < ends
        assert not answers, answers[0].text
        time.sleep(0.02)
    emulated.run(emulated.supervisor.kill("enclave"))
    asking.join()
    assert answers[0].status_code == 503, answers[0].text
    assert answers[0].json()["type"] == "urn:blindgate:problem:enclave-unavailable"
    assert http.get("/readyz").status_code == 503

    with heartbeat(emulated) as beats:
        emulated.run(emulated.stack.reboot())
    assert beats == [b"\xb7"]
    wait_until_ready(http)
    again = http.post(
        "/v1/detections", content=envelope(emulated, coffee.read_bytes()), headers=OCTETS
    )
    assert again.status_code == 200, again.text


def test_one_byte_of_the_configuration_changes_pcr0_and_kms_refuses(
    emulated: Emulated, http: httpx.Client, coffee: Path
) -> None:
    before = json.loads(emulated.places.pcrs.read_text())["Measurements"]
    config = emulated.places.config
    config.write_text(config.read_text().replace("Every byte", "Every bit."))

    async def restart() -> None:
        # The gateway is told of the new measurements; the key policy is not.
        await emulated.supervisor.kill("gateway")
        emulated.stack.measure()
        await emulated.stack.reboot()
        await emulated.supervisor.start(emulated.stack.gateway())

    emulated.run(restart())
    after = json.loads(emulated.places.pcrs.read_text())["Measurements"]
    assert after["PCR0"] != before["PCR0"]
    assert after["PCR1"] == before["PCR1"]
    assert after["PCR2"] != before["PCR2"]
    wait_until_ready(http)
    answer = http.post(
        "/v1/detections", content=envelope(emulated, coffee.read_bytes()), headers=OCTETS
    )
    assert answer.status_code == 403, answer.text
    assert answer.json()["type"] == "urn:blindgate:problem:kms-refused"
