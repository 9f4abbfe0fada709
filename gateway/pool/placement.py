"""What the machine is told at its beginning, and what it says each time that it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.pool.errors import PoolRefused
    from gateway.pool.states import Connection, Waiter


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the pool takes at most; the reasons stand in `gateway.settings`.

    Attributes:
        queue: Requests that wait for a connection.
        connections: Connections to one enclave, whatever it says that it can use.
        warm: Connections to a ready enclave that are kept even if nothing uses them.
        idle_seconds: How long the others may be idle before they are closed.
    """

    queue: int = 256
    connections: int = 32
    warm: int = 2
    idle_seconds: float = 60.0


@dataclass(slots=True)
class Plan:
    """What `assign` wants done; everything in it has already happened in the machine.

    Attributes:
        open: Connections to open; report `opened` or `failed`.
        close: Connections to close; nothing is to be reported.
        give: Requests and the connection that each may now use; report `released`.
        refuse: Requests that get no connection, and what to tell their clients.
    """

    open: list[Connection] = field(default_factory=list)
    close: list[Connection] = field(default_factory=list)
    give: list[tuple[Waiter, Connection]] = field(default_factory=list)
    refuse: list[tuple[Waiter, PoolRefused]] = field(default_factory=list)
