"""From what a person writes as `trust=` to a policy that the verifier takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from blindgate.attestation import AWS_NITRO_ROOT, InvalidTrust, PcrSet, Root, Trust
from blindgate.printable import printable

_log = logging.getLogger(__name__)

#: The word that a person must write to trust enclaves that are none.
DEVELOPMENT: Final = "development"
#: Where the development stack keeps its root and its measurements.
DEV_ROOT_VARIABLE: Final = "BLINDGATE_DEV_ROOT"

TrustLike = Trust | PcrSet | str | os.PathLike[str] | Iterable[PcrSet | str | os.PathLike[str]]


def resolve(trust: TrustLike) -> Trust:
    """A trust policy from whatever the caller has.

    Args:
        trust: A `Trust`; a `PcrSet` or the path of a PCR file (what `nitro-cli build-enclave`
            prints), or several of them, each one accepted image under the AWS root; or
            `"development"` for the local stack's own root.

    Raises:
        InvalidTrust: A file cannot be read, or nothing would be trusted.
    """
    if isinstance(trust, Trust):
        return trust
    if trust == DEVELOPMENT:
        return development()
    if trust is None:
        raise InvalidTrust(
            "trust=None trusts nothing: give the file of the measurements of your enclave image, "
            'or "development" for the stack of `blindgate dev up`'
        )
    if isinstance(trust, PcrSet | str | os.PathLike):
        trust = [trust]
    if not isinstance(trust, Iterable):
        raise InvalidTrust(f"trust is a Trust, a PcrSet, a path or several, not {type(trust)}")
    trust = list(trust)
    for one in trust:
        if one == DEVELOPMENT and len(trust) > 1:
            raise InvalidTrust(
                "development trust has a root of its own and cannot be combined with other files"
            )
        if not isinstance(one, PcrSet | str | os.PathLike):
            raise InvalidTrust(f"trust holds {type(one)}, which is no PcrSet and no path")
    if trust == [DEVELOPMENT]:
        return development()
    sets = [one if isinstance(one, PcrSet) else PcrSet.from_file(Path(one)) for one in trust]
    return Trust(AWS_NITRO_ROOT, tuple(_distinct(sets)))


def development(folder: Path | None = None) -> Trust:
    """Trust in the development stack: its root (`root.pem`) and its PCRs (`pcrs.json`).

    Says so on the log every time: what runs under this root is no enclave.

    Args:
        folder: Where they are; else `$BLINDGATE_DEV_ROOT`, else the stack's default.

    Raises:
        InvalidTrust: They are not there.
    """
    folder = folder or _default_folder()
    try:
        root = Root.from_file(folder / "root.pem")
    except OSError as error:
        raise InvalidTrust(
            f"no development stack has left its root in {folder}: {error.strerror}. "
            f"Start one with `blindgate dev up`, or set {DEV_ROOT_VARIABLE}"
        ) from None
    _log.warning(
        "development root in %s: this is no enclave and proves nothing about real hardware",
        printable(folder),
    )
    return Trust(root, (PcrSet.from_file(folder / "pcrs.json"),))


def _default_folder() -> Path:
    if named := os.environ.get(DEV_ROOT_VARIABLE):
        path = Path(named)
        return path.parent if path.suffix == ".pem" else path
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "blindgate" / "dev"


def _distinct(sets: list[PcrSet]) -> Iterable[PcrSet]:
    """Two files of the same name in different folders stay two sets."""
    seen: set[str] = set()
    for number, pcr_set in enumerate(sets, 1):
        name = pcr_set.name if pcr_set.name not in seen else f"{pcr_set.name} ({number})"
        seen.add(name)
        yield PcrSet(name, pcr_set.values, allow_debug=pcr_set.allow_debug)
