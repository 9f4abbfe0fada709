"""Writes tests/vectors/attestation.json: documents that verify and documents that break a rule.

For verifiers in any language. `root_pem` is the pinned root of all cases; its private key is
public, so trust it nowhere. A case is verified at the time `at` against `pcr_sets` with a
maximum age of 300 s and a clock skew of 60 s, and must verify (`matches` names the PCR set) or
break the rule `refused`.

Run `python -m tests.vectors.attestation` after a change of the rules.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import cbor2

from blindgate.attestation import PcrSet
from devstack.nsm.documents import sign
from tests.vectors.attestation_malformed import malformed
from tests.vectors.attestation_untrusted import untrusted
from tests.vectors.forge import (
    ABSENT,
    BLUE,
    GREEN,
    LEAF,
    LINKS,
    NOW,
    PCRS,
    ROOT,
    ZONE,
    Case,
    chain_of,
    document,
    nitro_chain,
    payload_fields,
    pcr,
)

PATH: Final = Path(__file__).with_suffix(".json")
_SECOND: Final = timedelta(seconds=1)


@cache
def cases() -> tuple[Case, ...]:
    """All cases; the same ones every time."""
    return (*_valid(), *malformed(), *untrusted())


def _valid() -> Iterator[Case]:
    plain = document()
    chain = nitro_chain()
    yield Case("a fresh nonce", plain)
    yield Case("no nonce asked for, new", plain, nonce=None)
    yield Case("no nonce asked for, 300 s old", plain, nonce=None, at=NOW + 300 * _SECOND)
    yield Case("a nonce, two hours old", plain, at=NOW + timedelta(hours=2))
    yield Case("60 s from the future", plain, at=NOW - 60 * _SECOND)
    yield Case("tag 18 in front", b"\xd2" + plain)
    definite = cbor2.dumps(payload_fields(chain))
    yield Case("a payload of definite length", sign(definite, chain[-1].key))
    yield Case("absent optionals left out", document(public_key=ABSENT, user_data=ABSENT))
    yield Case("1024 bytes of user_data", document(user_data=bytes(1024), public_key=bytes(1024)))
    yield Case("a field that is not known", document(later="field"))
    yield Case("PCR16 locked", document(pcrs={**PCRS, 16: pcr("application")}))
    yield Case("other extensions, no key identifiers", document(chain_of(LINKS)))
    yield Case("a shorter chain", document(chain_of([ZONE, LEAF])))
    green = {**PCRS, **GREEN.values}
    yield Case("the second PCR set", document(pcrs=green), matches="green")
    signer = PcrSet("signed", {**BLUE.values, 8: PCRS[8]})
    yield Case("a PCR set with PCR8", plain, pcr_sets=(signer,), matches="signed")
    debug = PcrSet.debug()
    yield Case(
        "debug mode, allowed",
        document(pcrs={**PCRS, **debug.values}),
        pcr_sets=(BLUE, debug),
        allow_debug=True,
        matches=debug.name,
    )


def build() -> dict[str, Any]:
    """The vectors as JSON."""
    return {
        "about": (__doc__ or "").strip().splitlines()[0],
        "root_pem": ROOT.pem.decode(),
        "max_age_s": 300,
        "clock_skew_s": 60,
        "pcr_sets": {
            s.name: {str(i): value.hex() for i, value in s.values.items()}
            for case in cases()
            for s in case.pcr_sets
        },
        "cases": [_json(case) for case in cases()],
    }


def _json(case: Case) -> dict[str, Any]:
    outcome = {"refused": case.refused} if case.refused else {"matches": case.matches}
    return {
        "name": case.name,
        **outcome,
        "at": case.at.isoformat().replace("+00:00", "Z"),
        "nonce": None if case.nonce is None else case.nonce.hex(),
        "allow_debug": case.allow_debug,
        "pcr_sets": [s.name for s in case.pcr_sets],
        "document": base64.b64encode(case.document).decode(),
    }


def dump() -> str:
    """The file's content."""
    return json.dumps(build(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(dump())
