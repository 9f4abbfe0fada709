"""The gateway's commands: `blindgate keys …` and `blindgate audit …`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from blindgate.cli.console import emit_json, err, fail, out, table
from gateway.audit.chain import MAX_LINE, BrokenChain, Head
from gateway.audit.chain import verify as follow
from gateway.audit.log import AuditUnusable, read_key
from gateway.auth.caller import Scope
from gateway.auth.key_file import change_keys, read_keys
from gateway.auth.key_secret import change_secret, read_secret, secrets_client
from gateway.auth.keys import NAME, InvalidKeyStore, KeyRecord, KeyStore

keys = typer.Typer(
    help="Make, list and revoke the API keys of a gateway.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
audit = typer.Typer(
    help="Check the audit log of a gateway.", no_args_is_help=True, rich_markup_mode="markdown"
)

_FILE = Annotated[
    Path | None, typer.Option("--file", envvar="BLINDGATE_API_KEYS", help="The file of the keys.")
]
_SECRET = Annotated[
    str | None,
    typer.Option(
        "--secret",
        envvar="BLINDGATE_API_KEYS_SECRET",
        help="The secret in AWS Secrets Manager that holds the keys, instead of a file.",
    ),
]
_FIRST: Final = re.compile(rb'\{"seq":([0-9]{1,18}),', re.ASCII)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; shows in lists, not in logs.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it allows; several times.  [default: detect, attest]"),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", help="For how long: 90d, 12h, 30m, 8w, or never.")
    ] = "90d",
    file: _FILE = None,
    secret: _SECRET = None,
) -> None:
    """Make a key and show it once; the file is made if it is not there.

    Example: `blindgate keys create mobile-app --scope detect --scope attest --file keys.json`
    """
    if not NAME.fullmatch(name):
        fail("the name must have 1 to 64 printable characters", code=2)
    lifetime = _lifetime(expires)
    made: list[tuple[KeyRecord, str]] = []

    def add(store: KeyStore) -> KeyStore:
        scopes = scope or [Scope.DETECT, Scope.ATTEST]
        store, record, key = store.with_new(name, scopes, now=_now(), lifetime=lifetime)
        made.append((record, key))
        return store

    _change(file, secret, add)
    record, key = made[-1]
    until = f"until {_date(record.expires)}" if record.expires else "until it is revoked"
    allowed = ", ".join(record.scopes)
    err.print(f"Key {record.id} of {name} allows {allowed} {until}. It is not shown again:")
    print(key)


@keys.command("list")
def list_keys(
    file: _FILE = None,
    secret: _SECRET = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the keys, without their secrets.

    Example: `blindgate keys list --file keys.json`
    """
    store = _read(file, secret)
    if as_json:
        records = [each.model_dump(mode="json", exclude={"sha256"}) for each in store.keys]
        emit_json(json.dumps(records, indent=2))
        return
    if not store.keys:
        err.print("There are no keys yet. Make one with: blindgate keys create NAME")
        return
    shown = table("id", "name", "scopes", "created", "state")
    now = _now()
    for each in store.keys:
        shown.add_row(
            each.id, each.name, " ".join(each.scopes), _date(each.created), _state(each, now)
        )
    out.print(shown)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `blindgate keys list` shows it.")],
    file: _FILE = None,
    secret: _SECRET = None,
) -> None:
    """Revoke a key: a gateway with a file notices immediately, one with a secret in a minute.

    Example: `blindgate keys revoke 0123456789abcdef --file keys.json`
    """
    _change(file, secret, lambda store: store.without(key_id, _now()))
    err.print(f"Key {key_id} is revoked.")


@audit.callback()
def _audit() -> None:
    """Keeps `verify` a subcommand although it is the only one."""


@audit.command("verify")
def verify_log(
    files: Annotated[
        list[Path], typer.Argument(help="The log, and the full files before it, in any order.")
    ],
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="SEQ:HASH",
            help="A record that was noted elsewhere and must be there: shows a cut-off end.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="SEQ:HASH", help="The end of the file before the first one."
        ),
    ] = None,
    audit_key: Annotated[
        Path | None,
        typer.Option(
            "--audit-key", metavar="FILE", help="The key that the gateway writes its log with."
        ),
    ] = None,
) -> None:
    """Find any line that was removed, changed, put in or moved; print where the log ends.

    The chain alone cannot show that its last lines were cut off, or, without a key, that somebody
    wrote all of it again. Note the printed head elsewhere, or take one from the gateway's ordinary
    logs, and give it as --head.

    Example: `blindgate audit verify /var/log/blindgate/audit.log*`
    """
    try:
        noted = [Head.parse(each) for each in head or ()]
        start = Head.parse(after) if after else None
    except ValueError as error:
        fail(str(error), code=2)
    reading: list[tuple[Path, int]] = []
    try:
        key = read_key(audit_key) if audit_key is not None else None
        lines = _lines(_in_order(files), reading)
        end, count = follow(lines, after=start, seen=noted, key=key)
    except BrokenChain as error:
        file, before = reading[-1]
        fail(f"{file}: line {error.line - before}: {error.what}")
    except AuditUnusable as error:
        fail(str(error), code=2)
    err.print(f"{count} records, unbroken. The log ends at:")
    print(end)


def _in_order(files: list[Path]) -> list[Path]:
    """Files by the number of their first record; one without any is the last, just begun."""

    def first(path: Path) -> float:
        with path.open("rb") as file:
            found = _FIRST.match(file.read(MAX_LINE))
        return int(found[1]) if found else math.inf

    return sorted(files, key=first)


def _lines(files: list[Path], reading: list[tuple[Path, int]]) -> Iterator[bytes]:
    """The lines of several files; says in `reading` which and how many came before it."""
    count = 0
    for path in files:
        with path.open("rb") as file:
            reading.append((path, count))
            # A line without an end is not read into memory as a whole.
            while line := file.readline(MAX_LINE + 1):
                count += 1
                yield line


def _change(file: Path | None, secret: str | None, change: Callable[[KeyStore], KeyStore]) -> None:
    if secret and not file:
        change_secret(secrets_client(), secret, change)
        return
    path = _one(file, secret)
    try:
        change_keys(path, change)
    except InvalidKeyStore as error:
        raise InvalidKeyStore(f"{path}: {error}") from None
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")


def _read(file: Path | None, secret: str | None) -> KeyStore:
    if secret and not file:
        return read_secret(secrets_client(), secret)
    path = _one(file, secret)
    try:
        return read_keys(path)
    except InvalidKeyStore as error:
        raise InvalidKeyStore(f"{path}: {error}") from None
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}", code=2)


def _one(file: Path | None, secret: str | None) -> Path:
    if file is None or secret is not None:
        fail("say where the keys are", "Give --file FILE or --secret NAME, not both", code=2)
    return file


def _lifetime(text: str) -> timedelta | None:
    if text == "never":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if match is None:
        fail(f"{text!r} is not a length of time", "Write 90d, 12h, 30m, 8w, or never", code=2)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _state(record: KeyRecord, now: datetime) -> str:
    if record.revoked:
        return f"revoked {_date(record.revoked)}"
    if record.expires is None:
        return "valid"
    return f"{'valid until' if record.is_valid(now) else 'expired'} {_date(record.expires)}"


def _date(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
