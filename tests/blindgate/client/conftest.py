"""A dev root for the session, and a gateway with one enclave for each test."""

from __future__ import annotations

import pytest

from devstack.nsm import DevRoot
from tests.blindgate.client.gateway import Enclave, Gateway


@pytest.fixture(scope="session")
def root() -> DevRoot:
    return DevRoot.generate()


@pytest.fixture
def enclave(root: DevRoot) -> Enclave:
    return Enclave(root)


@pytest.fixture
def gateway(enclave: Enclave) -> Gateway:
    return Gateway(enclave)
