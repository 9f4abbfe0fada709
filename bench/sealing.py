"""CPU cost of sealing and opening one photo: `python -m bench.sealing [--megabytes 1]`.

Times are of this process's CPU, so a busy machine does not change them much. The worker's part
is what a sealed request costs over the same request unsealed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from dataclasses import dataclass

from blindgate.sealing import bhttp, keys, ohttp, padding
from blindgate.sealing.suites import SYMMETRIC, Aead, Kem, Symmetric


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds of one exchange, the least of all rounds."""

    client_seal: float
    worker_open: float
    worker_seal: float
    client_open: float

    @property
    def worker(self) -> float:
        """What the worker pays for one sealed request."""
        return self.worker_open + self.worker_seal


def measure(kem: Kem, symmetric: Symmetric, size: int, rounds: int) -> Cost:
    """Seal and open a body of `size` bytes and an answer of one bucket, `rounds` times."""
    pair = keys.KeyPair.from_seed(1, kem, os.urandom(32))
    photo = os.urandom(size)
    answer = bhttp.Response(200, (("content-type", "application/json"),), b"{}" * 1000)
    best = [float("inf")] * 4
    for _ in range(rounds):
        times = [time.process_time_ns()]
        request = bhttp.Request("POST", "https", "gateway.example", "/v1/detections", (), photo)
        message = request.encode(padded_to=padding.request_size(size + 100))
        sealed = ohttp.seal_request(pair.config, message, symmetric=symmetric)
        times.append(time.process_time_ns())
        opened = ohttp.open_request(sealed.encapsulated, {1: pair}.get)
        inner = bhttp.decode_request(opened.message)
        times.append(time.process_time_ns())
        encoded = answer.encode(padded_to=padding.ANSWER_BUCKETS[0])
        sealed_answer = opened.response.seal(encoded)
        times.append(time.process_time_ns())
        bhttp.decode_response(sealed.response.open(sealed_answer))
        times.append(time.process_time_ns())
        assert inner.content == photo
        spent = [(end - start) / 1e6 for start, end in itertools.pairwise(times)]
        best = [min(pair) for pair in zip(best, spent, strict=True)]
    return Cost(*best)


def main() -> None:
    """Print one line for each suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    size = int(arguments.megabytes * 1_000_000)
    print(f"CPU ms for a body of {arguments.megabytes:g} MB, least of {arguments.rounds} rounds")
    print(f"{'suite':<28}{'seal':>8}{'open':>8}{'answer':>8}{'read':>8}{'worker':>9}")
    for kem in Kem:
        for symmetric in SYMMETRIC:
            cost = measure(kem, symmetric, size, arguments.rounds)
            name = f"{kem.name} {Aead(symmetric.aead).name}"
            print(
                f"{name:<28}{cost.client_seal:8.2f}{cost.worker_open:8.2f}"
                f"{cost.worker_seal:8.2f}{cost.client_open:8.2f}{cost.worker:9.2f}"
            )


if __name__ == "__main__":
    main()
