"""An image for Graviton, on an emulated Graviton2: built on x86-64, booted, and used once."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from blindgate.attestation import PcrSet, Root, Trust
from blindgate.client import Blindgate, GatewayProblem
from blindgate.detections import Detections
from devstack.model import obtain
from enclave_image import eif
from enclave_image.errors import FetchFailed
from enclave_image.kernel.formats import architecture_of
from tests.e2e.emulated import Emulated

pytestmark = [
    pytest.mark.enclave,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="the emulator's packages are for x86-64 Linux",
    ),
]

MODEL = "ssd-mobilenet-v2-coco"
#: Longer than the gateway's deadline in the emulated stack.
SECONDS = 150.0
#: The first request, for which QEMU translates the worker's code, takes some 25 s of a processor; a
#: busy machine may not have them before the deadline.
ATTEMPTS = 3


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    try:
        with Emulated.start(obtain(MODEL), "arm64") as live:
            yield live
    except FetchFailed as error:
        pytest.skip(f"the packages of the image or of the emulator cannot be had: {error}")


def test_the_image_says_its_architecture_and_has_no_words_of_another(emulated: Emulated) -> None:
    image = eif.read(emulated.stack.machine.image.read_bytes())
    assert image.arm64
    assert architecture_of(bytes(image.kernel)) == "arm64"
    words = image.command_line.decode().split()
    assert not [word for word in words if word.startswith(("i8042", "reboot=", "clocksource="))]


def test_a_sealed_request_is_answered(emulated: Emulated, coffee: Path) -> None:
    trust = Trust(
        Root.from_pem(emulated.places.nsm_root.read_bytes()),
        (PcrSet.from_file(emulated.places.pcrs),),
    )
    with (
        httpx.Client(timeout=SECONDS, trust_env=False) as http,
        Blindgate(emulated.running.gateway, trust=trust, http=http) as client,
    ):
        found = detect(client, coffee)
    assert "cup" in {each.label for each in found.detections}


def detect(client: Blindgate, photo: Path) -> Detections:
    """The objects in a photo; a request that the gateway gave up on is made again."""
    for _ in range(ATTEMPTS - 1):
        with suppress(GatewayProblem):
            return client.detect(photo)
    return client.detect(photo)
