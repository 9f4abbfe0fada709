"""What counts as a point of the boot, and how several boots become one table."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from bench import boot
from bench.boot import HEARTBEAT, INIT, READY, WORKER, BootFailed, Moment, Watch

CONSOLE = b"""\
qemu: a warning\r
[    0.000000] tsc: Fast TSC calibration failed\r
ready\r
init: network devices: lo\r
init: disks:\r
starting\r
[W:onnxruntime] not the worker's log\r
ready\r
init: heartbeat answered\r
"""


async def lines(text: bytes) -> AsyncIterator[bytes]:
    for line in text.splitlines(keepends=True):
        yield line


def watching() -> Watch:
    """A watch whose clock counts the points."""
    count = itertools.count(1)
    return Watch(lambda: Moment(float(number := next(count)), number / 2))


def test_the_first_lines_of_init_and_of_the_worker_and_its_readiness_count() -> None:
    watch = watching()
    asyncio.run(watch.read(lines(CONSOLE)))
    assert watch.moments == {
        INIT: Moment(1.0, 0.5),
        WORKER: Moment(2.0, 1.0),
        READY: Moment(3.0, 1.5),
    }


@pytest.mark.parametrize("kept", [0, 3, 7])
def test_a_console_that_ends_early_is_quoted(kept: int) -> None:
    text = b"".join(CONSOLE.splitlines(keepends=True)[:kept])
    with pytest.raises(BootFailed) as caught:
        asyncio.run(watching().read(lines(text)))
    assert str(caught.value).splitlines()[1:] == text.decode().splitlines()


def test_the_heartbeat_is_returned_and_counts_once() -> None:
    async def exchange() -> tuple[Watch, list[bytes]]:
        watch = watching()
        server = await asyncio.start_server(watch.answer, "127.0.0.1", 0)
        received = []
        async with server:
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"\xb7")
                received.append(await reader.read())
                writer.close()
            await watch.answered.wait()
        return watch, received

    watch, received = asyncio.run(exchange())
    assert received == [b"\xb7", b"\xb7"]
    assert watch.moments == {HEARTBEAT: Moment(1.0, 0.5)}


def test_a_table_has_minimum_median_and_maximum_of_each_point() -> None:
    boots = [
        {
            INIT: Moment(s, s / 2),
            WORKER: Moment(10 * s, 9 * s),
            READY: Moment(10.5 * s, 9.5 * s),
            HEARTBEAT: Moment(11 * s, 10 * s),
        }
        for s in (3.0, 1.0, 2.0)
    ]
    title, _, *rows = boot.table("one.eif", boots).splitlines()
    assert title == "one.eif: seconds from QEMU's start, 3 boots"
    assert [row.split()[-4:] for row in rows] == [
        ["1.0", "2.0", "3.0", "1.0"],
        ["10.0", "20.0", "30.0", "18.0"],
        ["10.5", "21.0", "31.5", "19.0"],
        ["11.0", "22.0", "33.0", "20.0"],
    ]
