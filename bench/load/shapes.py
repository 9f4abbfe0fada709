"""Which cores the client, the gateway and the servers run on.

On an instance the gateway has cores that the enclave does not, so the bench measures two shapes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """Sets of cores; None for all of the machine's.

    Attributes:
        name: Names it in what is printed.
        front: For the load generator and the gateway.
        back: For the worker, the bare loop, and the whole of a server that has no gateway.
    """

    name: str
    front: frozenset[int] | None = None
    back: frozenset[int] | None = None

    def threads(self, concurrency: int, cores: int) -> int:
        """Threads of the bare loop for so many concurrent requests on so many cores."""
        return min(concurrency, cores if self.back is None else len(self.back))


#: Everything on all cores.
SHARED: Final = Shape("shared cores")


def separate(cores: Sequence[int]) -> Shape | None:
    """Client and gateway on one core, the rest for what they ask; None with a single core."""
    first, *rest = sorted(cores)
    return Shape("separate cores", frozenset({first}), frozenset(rest)) if rest else None


def pinned(command: Sequence[str], cores: frozenset[int] | None) -> list[str]:
    """A command that runs on these cores only, and so counts no others (taskset(1))."""
    if cores is None:
        return list(command)
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]


def pin(cores: frozenset[int] | None) -> None:
    """Keep this process on these cores."""
    if cores is not None:
        os.sched_setaffinity(0, cores)
