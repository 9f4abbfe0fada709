"""What `blindgate verify` prints: a verified document for a person's eyes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.x509.oid import NameOID
from rich.text import Text

from blindgate.attestation import CLIENT_PURPOSE, InvalidUserData, UserData, purpose_of
from blindgate.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from cryptography import x509
    from rich.console import Console

    from blindgate.attestation import Attestation, PcrSet, Root

_MEANING = {
    0: "image",
    1: "kernel and boot ramdisk",
    2: "application",
    3: "parent's role",
    4: "parent instance",
    8: "image signer",
}
_TIME = "%Y-%m-%d %H:%M:%S UTC"


def print_report(
    out: Console,
    attestation: Attestation,
    *,
    root: Root,
    pcr_sets: tuple[PcrSet, ...],
    nonce: bytes | None,
    now: datetime,
) -> None:
    """Print who signed, the chain, the age, the measurements and what is bound.

    Args:
        out: Where to.
        attestation: Origin and freshness are verified; `pcr_set` is None if no set matched.
        root: The pinned root.
        pcr_sets: The sets that were tried.
        nonce: What was asked for, or None.
        now: The time that was verified at.
    """
    # Lines instead of tables: a digest must be there whole, on one line, to be compared.
    for name, text in _facts(attestation, root, nonce, now):
        out.print(Text(f"{name:<10}", style="bold").append(f" {printable(text)}", style="not bold"))
    out.print("\nChain", style="bold")
    for certificate in attestation.chain:
        out.print(f"  {printable(_common_name(certificate))}")
        out.print(f"    {_validity(certificate, now)}", style="dim")
    out.print("\nMeasurements", style="bold")
    for title, verdict, style, value in _pcrs(attestation, pcr_sets):
        out.print(Text(f"  {title:<30} ").append(verdict, style=style))
        out.print(f"    {value}", style="dim")
    out.print("\nBound", style="bold")
    for title, value in _bound(attestation):
        out.print(f"  {title}")
        out.print(f"    {printable(value)}", style="dim")


def _facts(
    attestation: Attestation, root: Root, nonce: bytes | None, now: datetime
) -> Iterator[tuple[str, str]]:
    yield "Enclave", attestation.module_id
    yield "Signed by", _common_name(attestation.chain[-1])
    yield "Root", f"{root.name} (SHA-256 {root.fingerprint})"
    age = (
        f"{attestation.timestamp.astimezone(UTC):{_TIME}}, {_span(now - attestation.timestamp)} ago"
    )
    yield "Made", age
    yield "Freshness", "by its nonce" if nonce is not None else "by its age"
    if attestation.debug_mode:
        yield "Mode", "DEBUG: its parent can read its console; measured as nothing"


def _validity(certificate: x509.Certificate, now: datetime) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"{begin:{_TIME}} to {end:{_TIME}}, {_span(end - now)} left"


def _pcrs(
    attestation: Attestation, pcr_sets: tuple[PcrSet, ...]
) -> Iterator[tuple[str, str, str, str]]:
    """Title, which sets' value it has, that in which style, and value of each PCR that matters."""
    zero = []
    indexes = {i for s in pcr_sets for i in s.values} | set(attestation.pcrs)
    for index in sorted(indexes):
        value = attestation.pcrs.get(index)
        compared = [s for s in pcr_sets if index in s.values]
        if value is not None and not any(value) and not compared:
            zero.append(index)
            continue
        names = ", ".join(s.name for s in compared if s.values[index] == value)
        if names:
            verdict, style = f"as in {printable(names)}", "green"
        else:
            verdict, style = ("as in no trusted set", "red") if compared else ("not compared", "")
        meaning = f"  {_MEANING[index]}" if index in _MEANING else ""
        yield f"PCR{index}{meaning}", verdict, style, "absent" if value is None else value.hex()
    if zero:
        yield f"PCR{_ranges(zero)}", "not compared", "", "zero"


def _bound(attestation: Attestation) -> Iterator[tuple[str, str]]:
    data = attestation.user_data
    purpose = purpose_of(data)
    if purpose is not None:
        yield "purpose", printable(purpose)[:80]
    if purpose == CLIENT_PURPOSE:
        try:
            bound = UserData.decode(data)
        except InvalidUserData as error:
            yield "user_data", f"malformed: {error}"
        else:
            yield "SHA-256 of the key configurations", bound.keys.hex()
            yield "SHA-256 of the model's manifest", bound.model.hex()
            yield "SHA-256 of the measured configuration", bound.config.hex()
    elif data is not None and purpose is None:
        yield "user_data", _digest(data)
    if attestation.public_key is not None:
        yield "public_key", _digest(attestation.public_key)
    if attestation.nonce is not None:
        yield "nonce", attestation.nonce.hex()
    if data is attestation.public_key is attestation.nonce is None:
        yield "nothing", "no user_data, no public_key, no nonce"


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def _digest(value: bytes) -> str:
    return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()}"


def _span(delta: timedelta) -> str:
    """A duration with its two largest units, e.g. `2 h 45 min`."""
    seconds = max(int(delta.total_seconds()), 0)
    sizes = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in sizes:
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _ranges(indexes: list[int]) -> str:
    """`5-7, 9-15` of sorted indexes."""
    runs: list[list[int]] = []
    for index in indexes:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
