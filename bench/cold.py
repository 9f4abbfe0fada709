"""What it costs that somebody else used the caches meanwhile: `python -m bench.cold`.

A sealed photo is opened and its header read, and an answer is sealed: what the worker does around
the network, which reads some 30 MB in between. CPU time of this thread, the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Final

from bench.gateway import positive
from bench.load.jobs import message_of
from bench.load.photos import make_photos
from blindgate.detections import DetectOptions
from blindgate.imaging.decode import read_header
from blindgate.sealing import keys, ohttp
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest, SealedEndpoint
from enclave_app.keys.keyring import Keyring

_MEGABYTES: Final = (0, 4, 8, 16, 24, 32, 40)
_LINE: Final = 64
#: As long as that of twenty objects.
_ANSWER: Final = InnerAnswer(200, b"{}" * 1000)


def measure(name: str, rounds: int) -> Iterator[tuple[int, float]]:
    """Megabytes that were read before, and the CPU milliseconds of one exchange after it.

    Args:
        name: Of one of the photos of `make bench`.
        rounds: How many exchanges for each.

    Raises:
        RuntimeError: A request was refused, which takes less.
    """
    keyring = Keyring()
    endpoint = SealedEndpoint(keyring)
    config = keys.choose(keys.decode_list(keyring.keys_body()))
    message = message_of(make_photos()[name].data)
    answered = 0

    def handle(inner: InnerRequest) -> InnerAnswer:
        nonlocal answered
        answered += 1
        DetectOptions.from_query(inner.query)
        read_header(memoryview(inner.content))
        return _ANSWER

    for megabytes in _MEGABYTES:
        others = bytearray(megabytes * 1_000_000)
        spent = []
        for _ in range(rounds):
            encapsulated = bytearray(ohttp.seal_request(config, message).encapsulated)
            others[::_LINE] = others[::_LINE]
            began = time.thread_time_ns()
            endpoint.open_and_answer(encapsulated, handle)
            spent.append((time.thread_time_ns() - began) / 1e6)
        if answered != rounds:
            raise RuntimeError("a request was not answered")
        answered = 0
        yield megabytes, statistics.median(spent)


def main() -> None:
    """Print a line for each amount of memory."""
    parser = argparse.ArgumentParser(prog="bench.cold", description=__doc__)
    parser.add_argument("--photo", choices=["300 KB", "3 MB"], default="300 KB")
    parser.add_argument("--rounds", type=positive, default=60)
    given = parser.parse_args()
    for megabytes, spent in measure(given.photo, given.rounds):
        print(f"{given.photo} after {megabytes:2} MB of other memory: {spent:.2f} ms", flush=True)


if __name__ == "__main__":
    main()
