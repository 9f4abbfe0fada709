"""The shared dev KMS, and what signs requests by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.kms_fixtures import RunningKms, dev_root, enclaves, kms, kms_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dev_root", "enclaves", "kms", "kms_certificates"]


@pytest.fixture(scope="session")
def http(kms: RunningKms) -> Iterator[httpx.Client]:
    """A plain HTTP client that trusts the dev KMS."""
    import ssl

    context = ssl.create_default_context(cafile=str(kms.certificates.ca))
    with httpx.Client(base_url=kms.endpoint, verify=context) as client:
        yield client
