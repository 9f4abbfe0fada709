"""`blindgate verify`: is this gateway's enclave one that I trust?"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from blindgate.attestation import (
    AWS_NITRO_ROOT,
    AttestationError,
    InvalidTrust,
    PcrSet,
    Root,
    Trust,
    WrongMeasurements,
    verify_chain_and_signature,
)
from blindgate.attestation import verify as verify_document
from blindgate.attestation.cose import MAX_DOCUMENT
from blindgate.cli.connection import (
    ApiKey,
    Config,
    Connection,
    Gateway,
    Token,
    TrustFiles,
    connection,
)
from blindgate.cli.console import err, fail, out
from blindgate.client.trust import DEVELOPMENT, development

#: Seconds for each of connecting and reading: a document is small.
_TIMEOUT: Final = 10.0

_URL = Annotated[str | None, typer.Argument(help="The gateway's address; the same as --gateway.")]
_PCRS = Annotated[
    list[Path] | None,
    typer.Option(
        "--pcrs",
        metavar="FILE",
        help="The same as --trust FILE.",
    ),
]
_DOCUMENT = Annotated[
    Path | None,
    typer.Option("--document", metavar="FILE", help="Verify a saved document instead of a URL."),
]
_AT = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="With --document: the time to verify at, ISO 8601 with a zone."
    ),
]
_NONCE = Annotated[
    str | None,
    typer.Option("--nonce", metavar="BASE64URL", help="With --document: the nonce it must repeat."),
]
_DEV_ROOT = Annotated[
    Path | None,
    typer.Option(
        "--dev-root",
        metavar="PEM",
        help="Trust this root instead of AWS's. For development: it vouches for no hardware.",
    ),
]
_ALLOW_DEBUG = Annotated[
    bool,
    typer.Option("--allow-debug", help="Accept enclaves in debug mode. Never in production."),
]


def verify(
    url: _URL = None,
    gateway: Gateway = None,
    trust: TrustFiles = None,
    api_key: ApiKey = None,
    token: Token = None,
    config: Config = None,
    pcrs: _PCRS = None,
    document: _DOCUMENT = None,
    at: _AT = None,
    nonce: _NONCE = None,
    dev_root: _DEV_ROOT = None,
    allow_debug: _ALLOW_DEBUG = False,
) -> None:
    """Ask a gateway for its enclave's attestation document, verify it, and report.

    The exit code is 0 if an enclave that you trust made the document now, else 1.

    Example: `blindgate verify --gateway https://inference.example --trust release-7.json`
    """
    if url is not None and gateway is not None:
        fail("give the gateway once: as URL or as --gateway", code=2)
    named = url or gateway
    if named is not None and document is not None:
        fail("give either a URL or --document", code=2)
    if document is None and (at is not None or nonce is not None):
        fail(
            "--at and --nonce are for --document; a gateway is asked now, with a fresh nonce",
            code=2,
        )
    asked = connection(gateway=named, trust=trust, api_key=api_key, token=token, config=config)
    # What the command line names counts instead of a variable and the configuration file.
    files = [*(trust or ()), *map(str, pcrs)] if pcrs else list(asked.trust)
    if document is None:
        asked.origin()
    if not files and not allow_debug:
        fail(
            "no measurements to compare with",
            "Give --trust FILE with what was printed when the image was built, or --trust "
            "development",
            code=2,
        )
    try:
        believed = _trust(files, dev_root, allow_debug=allow_debug)
    except AttestationError as error:
        fail(str(error), code=2)
    now = _time(at)
    expected = _nonce(nonce)
    if document is not None:
        content = _read(document)
    else:
        expected, content = _fetch(asked)
        now = datetime.now(UTC)
    _verify_and_report(content, believed, expected, now)


def _verify_and_report(content: bytes, trust: Trust, nonce: bytes | None, now: datetime) -> None:
    from blindgate.cli.attestation_report import print_report

    refused: AttestationError | None = None
    try:
        attestation = verify_document(content, trust=trust, nonce=nonce, now=now)
    except WrongMeasurements as error:
        # Genuine and fresh, so it may be shown: which of its measurements are the others'.
        refused = error
        attestation = verify_chain_and_signature(content, root=trust.root, nonce=nonce, now=now)
    except AttestationError as error:
        fail(f"REFUSED ({error.rule}): {error}")
    print_report(out, attestation, root=trust.root, pcr_sets=trust.pcr_sets, nonce=nonce, now=now)
    out.print()
    if refused is not None:
        fail(f"REFUSED ({refused.rule}): {refused}")
    if trust.root.fingerprint != AWS_NITRO_ROOT.fingerprint:
        err.print(
            "Warning: development root. This is no Nitro enclave and proves nothing.",
            style="yellow",
        )
    if attestation.debug_mode:
        err.print("Warning: debug mode. Its parent can read its console.", style="yellow")
    assert attestation.pcr_set is not None  # noqa: S101 - verify returned, so a set matched
    out.print(f"VERIFIED: {attestation.pcr_set.name}", style="bold green")


def _trust(files: list[str], dev_root: Path | None, *, allow_debug: bool) -> Trust:
    if DEVELOPMENT in files:
        if len(files) > 1 or dev_root is not None:
            raise InvalidTrust(
                "--trust development has its own root and measurements: give it alone"
            )
        found = development()
        root, sets = found.root, list(found.pcr_sets)
    else:
        root = AWS_NITRO_ROOT if dev_root is None else _root(dev_root)
        sets = [PcrSet.from_file(file, allow_debug=allow_debug) for file in files]
        if len({s.name for s in sets}) < len(sets):  # two folders, one file name
            sets = [
                PcrSet(file, s.values, allow_debug=allow_debug)
                for file, s in zip(files, sets, strict=True)
            ]
    if allow_debug:
        sets.append(PcrSet.debug())
    return Trust(root, tuple(sets), allow_debug=allow_debug)


def _root(file: Path) -> Root:
    try:
        return Root.from_file(file)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", code=2)


def _fetch(to: Connection) -> tuple[bytes, bytes]:
    """A fresh nonce, and the attestation document that the gateway returns for it."""
    from blindgate.client import ClientError
    from blindgate.client._sync.transport import ClientTransport, send
    from blindgate.client.httpx_bridge import translated_errors
    from blindgate.client.session import attestation_document, document_request, new_nonce

    gateway = to.origin()
    nonce = new_nonce()
    request = document_request(nonce, tuple(to.headers.items()))
    try:
        with (
            err.status("asking the gateway"),
            translated_errors(gateway),
            to.client() as http,
        ):
            http.timeout = _TIMEOUT
            response = send(ClientTransport(http), gateway, request, {})
        return nonce, attestation_document(response)
    except ClientError as error:
        fail(str(error))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}", code=2)


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--at {text!r} is not an ISO 8601 time", code=2)
    if time.tzinfo is None:
        fail("--at needs a time zone", "Write it like 2026-01-03T20:41:07Z", code=2)
    return time


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        nonce = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if not nonce:
        fail("--nonce is not base64url", code=2)
    return nonce
