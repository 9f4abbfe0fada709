"""Cost of verifying one attestation document: `python -m bench.attestation [--json]`.

A document with a chain of five certificates needs five ECDSA P-384 verifications, so the ratio to
one of them, measured in turn within the same rounds, says what all the rest costs and does not
depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from blindgate.attestation import PcrSet, Trust, parse, verify
from devstack.nsm import DevNsm, DevRoot


@dataclass(frozen=True)
class Cost:
    """Milliseconds of CPU time, and ratios to one ECDSA P-384 verification's median."""

    rounds: int
    document_bytes: int
    parse_p50_ms: float
    verify_p50_ms: float
    verify_p99_ms: float
    ecdsa_p50_ms: float
    verify_p50_ratio: float
    verify_p99_ratio: float


def measure(rounds: int) -> Cost:
    """Parse, verify, and verify one bare signature, `rounds` times in turn."""
    root = DevRoot.generate()
    image = {index: os.urandom(48) for index in (0, 1, 2)}
    nonce = os.urandom(32)
    nsm = DevNsm(root, "i-0368fa67e156d6d23-enc019b8596b1a9dad6", image)
    document = nsm.attest(user_data=os.urandom(150), nonce=nonce)
    trust = Trust(root.root, (PcrSet("image", image),))
    key = ec.generate_private_key(ec.SECP384R1())
    message, algorithm = os.urandom(4096), ec.ECDSA(hashes.SHA384())
    signature, public = key.sign(message, algorithm), key.public_key()

    parsing, verifying, bare = [], [], []
    for _ in range(rounds):
        began = time.process_time()
        parse(document)
        parsed = time.process_time()
        verify(document, trust=trust, nonce=nonce)
        verified = time.process_time()
        public.verify(signature, message, algorithm)
        bare.append(time.process_time() - verified)
        verifying.append(verified - parsed)
        parsing.append(parsed - began)
    one = statistics.median(bare)
    p50, p99 = statistics.median(verifying), statistics.quantiles(verifying, n=100)[98]
    return Cost(
        rounds=rounds,
        document_bytes=len(document),
        parse_p50_ms=statistics.median(parsing) * 1000,
        verify_p50_ms=p50 * 1000,
        verify_p99_ms=p99 * 1000,
        ecdsa_p50_ms=one * 1000,
        verify_p50_ratio=p50 / one,
        verify_p99_ratio=p99 / one,
    )


def main() -> None:
    """Print the cost for a person, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cost = measure(max(arguments.rounds, 2))
    if arguments.json:
        print(json.dumps(asdict(cost), indent=2))
        return
    print(f"Verifying a document of {cost.document_bytes} bytes, {cost.rounds} rounds")
    print(
        f"  p50 {cost.verify_p50_ms:.2f} ms = {cost.verify_p50_ratio:.1f} x one ECDSA P-384 verify"
    )
    print(f"  p99 {cost.verify_p99_ms:.2f} ms = {cost.verify_p99_ratio:.1f} x")
    print(f"  of it reading: p50 {cost.parse_p50_ms:.3f} ms")
    print(f"  one ECDSA P-384 verify: p50 {cost.ecdsa_p50_ms:.2f} ms")


if __name__ == "__main__":
    main()
