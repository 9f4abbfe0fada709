"""Whether a request has a chance, said before it waits in vain.

No promise is broken by saying no late; but whoever waits until after the deadline has waited
for nothing, and an enclave that works on what comes too late has less time for the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from blindgate import problems
from gateway.pool.errors import PoolRefused
from gateway.pool.service_rate import time_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.pool.queue import Queue
    from gateway.pool.states import Endpoint

#: Half a minute on, the load is another one and so is the estimate.
_LONGEST_RETRY_AFTER: Final = 30


def refusal(
    open_to: Sequence[Endpoint],
    all_open: Sequence[Endpoint],
    queue: Queue,
    ahead: int = 0,
    *,
    left: float,
    now: float,
) -> PoolRefused | None:
    """Refuse a new request that would be answered too late.

    It stands behind everybody in the queue who competes for the same enclaves, and behind what
    these have already: they compute a few at a time and have the others wait inside.

    Args:
        open_to: The enclaves that may take it.
        all_open: The enclaves that may take anything.
        queue: Who waits already.
        ahead: How many will be in the queue before it, for whichever enclave.
        left: Seconds until its deadline.
        now: The time.

    Returns:
        None if it would come in time, if an enclave has nothing better to do, or if not every
        enclave's pace is known.
    """
    rate = 0.0
    line = 1.0
    for endpoint in open_to:
        interval = endpoint.pace.interval
        if interval is None or not endpoint.is_loaded(now):
            return None
        rate += 1 / interval
        line += endpoint.outstanding
    if not open_to:
        return None
    line += ahead * len(open_to) / len(all_open)
    for key_id, count in queue.by_key():
        # Those who may go to other enclaves as well take their turn there as often as here.
        holders = [e for e in all_open if e.holds(key_id)]
        if holders:
            line += count * sum(e in open_to for e in holders) / len(holders)
    late_by = time_for(line, rate) - left
    if late_by <= 0:
        return None
    retry_after = min(math.ceil(late_by), _LONGEST_RETRY_AFTER)
    return PoolRefused(problems.OVERLOADED, retry_after=retry_after)


def is_in_vain(endpoint: Endpoint, *, left: float, now: float) -> bool:
    """Whether an enclave that has enough to do would answer one more request too late.

    By the mean, without a margin: it has waited for its turn, and even odds are worth it.
    """
    interval = endpoint.pace.interval
    if interval is None or not endpoint.is_loaded(now):
        return False
    # Little's law: time in service = requests in service x interval.
    return (endpoint.outstanding + 1) * interval > left
