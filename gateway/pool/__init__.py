"""The gateway's enclaves: which there are, which may be used, and whose turn it is.

`machine.py` has the tables of states.
"""

from __future__ import annotations

from gateway.pool.backend import Backend, Chunks, Exchange, Stream
from gateway.pool.errors import EnclaveRefused, PoolRefused, StreamLost
from gateway.pool.machine import Machine
from gateway.pool.monitor import Keeper, Probe, Push, StatusHook
from gateway.pool.placement import PoolLimits
from gateway.pool.pool import EnclaveAnswer, Pool
from gateway.pool.status import Status
from gateway.pool.stream import SocketBackend
from gateway.pool.verification import Verified, Verify

__all__ = [
    "Backend",
    "Chunks",
    "EnclaveAnswer",
    "EnclaveRefused",
    "Exchange",
    "Keeper",
    "Machine",
    "Pool",
    "PoolLimits",
    "PoolRefused",
    "Probe",
    "Push",
    "SocketBackend",
    "Status",
    "StatusHook",
    "Stream",
    "StreamLost",
    "Verified",
    "Verify",
]
