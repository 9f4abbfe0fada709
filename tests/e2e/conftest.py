"""One stack for all end-to-end tests, and the pictures and envelopes that they send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from blindgate.envelope.encryption_sdk import encrypt
from tests.e2e.live import LiveStack, live_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[LiveStack]:
    """Dev KMS, dev NSM, vsock-proxy, worker and gateway; answers may be open."""
    with live_stack() as running:
        yield running


@pytest.fixture(scope="session")
def http(stack: LiveStack) -> Iterator[httpx.Client]:
    """A client of the gateway."""
    with httpx.Client(base_url=stack.url, timeout=300, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def coffee() -> Path:
    """A cup of coffee on a table, 600 x 400 (scikit-image, CC0)."""
    return Path(str(files("skimage") / "data" / "coffee.png"))


@pytest.fixture(scope="session")
def seal(stack: LiveStack) -> Callable[[bytes], bytes]:
    """Envelope-encrypt any content as the data owner."""
    kms = stack.kms()
    return lambda content: encrypt(content, kms=kms, key_id=stack.running.key_alias)
