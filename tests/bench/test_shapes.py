"""Which cores each process of the bench runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load.shapes import SHARED, pinned, separate
from bench.load.targets import QuietStack
from devstack.places import Places
from devstack.stack import Options
from devstack.supervisor import Supervisor
from enclave_app.scheduling.cores import usable_cores

COUNT = "import os; print(*sorted(os.sched_getaffinity(0)))"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
linux = pytest.mark.skipif(not CORES, reason="only Linux pins processes to cores")


def test_client_and_gateway_have_one_core_and_the_servers_all_others() -> None:
    shape = separate([5, 2, 7])
    assert shape is not None
    assert (shape.front, shape.back) == (frozenset({2}), frozenset({5, 7}))
    assert separate([3]) is None


def test_the_loop_has_as_many_threads_as_the_servers_have_cores() -> None:
    shape = separate(range(3))
    assert shape is not None
    assert [shape.threads(concurrency, 3) for concurrency in (1, 2, 8)] == [1, 2, 2]
    assert [SHARED.threads(concurrency, 3) for concurrency in (1, 2, 8)] == [1, 2, 3]


@linux
def test_a_pinned_program_counts_its_cores_only() -> None:
    command = pinned([sys.executable, "-c", COUNT], frozenset(CORES[-1:]))
    assert subprocess.check_output(command, text=True).split() == [str(CORES[-1])]
    everywhere = pinned([sys.executable, "-c", COUNT], None)
    assert len(subprocess.check_output(everywhere, text=True).split()) == usable_cores()


def test_gateway_and_worker_start_on_the_cores_of_their_shape(tmp_path: Path) -> None:
    places = Places.prepare(tmp_path)
    stack = QuietStack(
        places, Options(model=tmp_path, gateway_port=0, kms_port=0), Supervisor(None)
    )
    stack.shape = separate([0, 1]) or SHARED
    for program, core in ((stack.gateway(), "0"), (stack.worker(), "1")):
        at = program.command.index("taskset")
        assert program.command[at : at + 3] == ["taskset", "--cpu-list", core]
    stack.shape = SHARED
    assert "taskset" not in stack.gateway().command
