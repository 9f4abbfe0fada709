"""One line a minute for requests of which nothing reached an enclave.

A line for each would let anybody fill the disk, and the log of what was done with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.audit.log import now
from gateway.auth.addresses import network_of

if TYPE_CHECKING:
    from gateway.audit.log import AuditLog
    from gateway.auth.caller import Caller

#: Callers and networks that have a line of their own in one minute. 256 lines of 300 bytes a
#: minute are at most 110 MB a day.
MOST: Final = 256
#: In place of an address, for those beyond.
OTHERS: Final = "others"
_MINUTE: Final = 60
#: What is for administrators: recorded although no enclave is asked.
_ADMINISTRATION: Final = frozenset({"listEnclaves"})


def acts(caller: Caller | None, operation: str | None, outcome: str, *, reached: bool) -> bool:
    """Whether a request is to be recorded by itself, not only counted.

    Args:
        caller: Who signed in; None if nobody did.
        operation: What was asked for; None if that does not exist.
        outcome: `ok`, or the slug of a problem.
        reached: Whether something of it was sent to an enclave.
    """
    if caller is None:
        return False
    return reached or (operation in _ADMINISTRATION and outcome == "ok")


@dataclass(slots=True)
class _Counted:
    caller: str | None
    address: str | None
    outcomes: dict[str, int] = field(default_factory=dict)


class CountedRequests:
    """Counts requests and writes what was counted in each minute.

    Args:
        log: Where the lines go.
        clock: Seconds since 1970.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._minute = 0
        self._counted: dict[tuple[str | None, str | None], _Counted] = {}

    def __repr__(self) -> str:
        return f"<CountedRequests of {len(self._counted)}>"

    def count(self, caller: Caller | None, address: str, outcome: str) -> None:
        """Count one request.

        Raises:
            OSError: What was counted before cannot be written; it is kept.
        """
        minute = int(self._clock()) // _MINUTE
        if minute != self._minute:
            self.write()
            self._minute = minute
        who = (str(caller), None) if caller is not None else (None, network_of(address))
        if who not in self._counted and len(self._counted) >= MOST:
            who = (None, OTHERS)
        counted = self._counted.setdefault(who, _Counted(*who))
        counted.outcomes[outcome] = counted.outcomes.get(outcome, 0) + 1

    def write_due(self) -> None:
        """Write what was counted in a minute that is over.

        Raises:
            OSError: As for `count`.
        """
        if int(self._clock()) // _MINUTE != self._minute:
            self.write()

    def write(self) -> None:
        """Write all that was counted.

        Raises:
            OSError: As for `count`.
        """
        since = datetime.fromtimestamp(self._minute * _MINUTE, UTC).isoformat()
        while self._counted:
            who, counted = next(iter(self._counted.items()))
            self._log.append(
                {
                    "time": now(),
                    "since": since,
                    "caller": counted.caller,
                    "address": counted.address,
                    "requests": dict(sorted(counted.outcomes.items())),
                }
            )
            del self._counted[who]
