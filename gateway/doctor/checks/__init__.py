"""The checks, in the order in which a person would fix what they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.doctor.checks import hardware, key_policy, kms, proxy, serving
from gateway.doctor.host import Host
from gateway.doctor.result import Result
from gateway.doctor.setup import Setup


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: How it is called on the screen and in JSON.
        examine: Looks; raises nothing that is foreseen.
    """

    name: str
    examine: Callable[[Host, Setup], Result]


CHECKS: Final = (
    Check("enclave-support", hardware.enclave_support),
    Check("device-access", hardware.device_access),
    Check("installation", hardware.installation),
    Check("image", hardware.image),
    Check("allocator", hardware.allocator),
    Check("huge-pages", hardware.huge_pages),
    Check("cpu-pool", hardware.cpu_pool),
    Check("vsock-proxy", proxy.service),
    Check("allow-list", proxy.allow_list),
    Check("kms-endpoint", kms.endpoint),
    Check("kms-dns", kms.dns),
    Check("kms-tls", kms.tls),
    Check("clock", kms.clock),
    Check("credentials", kms.credentials),
    Check("enclaves", serving.enclaves),
    Check("workers", serving.workers),
    Check("key-policy", key_policy.admits_what_runs),
    Check("measurements", serving.measurements),
    Check("gateway", serving.gateway),
)
