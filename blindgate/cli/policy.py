"""`blindgate policy`: write a key policy from measurements, and lint any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blindgate.cli.console import emit_json, err, fail
from blindgate.cli.files import read_file

policy = typer.Typer(
    help="Write a KMS key policy that only measured enclaves satisfy, or lint one.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

#: KMS takes 32 KiB. A file that is a little larger gets the message which says so.
_MAX_POLICY = 1024 * 1024

_Pcrs = Annotated[
    list[Path] | None,
    typer.Option(
        "--pcrs",
        metavar="FILE",
        help="Measurements of an image, as nitro-cli prints them; once for each image.",
    ),
]
_Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ARN", help="The role whose credentials the enclave uses."),
]
_Admins = Annotated[
    list[str] | None,
    typer.Option("--admin", metavar="ARN", help="Who manages the key, and cannot open anything."),
]
_Context = Annotated[
    list[str] | None,
    typer.Option(
        "--encryption-context",
        metavar="K=V",
        help="A pair that every wrap and unwrap must name.",
    ),
]
_Owners = Annotated[
    list[str] | None,
    typer.Option("--encrypt-principal", metavar="ARN", help="Who encrypts for the enclave."),
]


@policy.callback()
def policy_command(
    context: typer.Context,
    pcrs: _Pcrs = None,
    role: _Roles = None,
    admin: _Admins = None,
    encryption_context: _Context = None,
    encrypt_principal: _Owners = None,
) -> None:
    """Write a KMS key policy that only measured enclaves satisfy, or lint one.

    Example: `blindgate policy --pcrs pcrs.json --role arn:aws:iam::111122223333:role/parent
    --admin arn:aws:iam::111122223333:role/key-admin > policy.json`

    Two `--pcrs` files let two images open data side by side, as during a blue/green change.
    """
    if context.invoked_subcommand is None:
        write(pcrs, role, admin, encryption_context, encrypt_principal)


@policy.command()
def write(
    pcrs: _Pcrs = None,
    role: _Roles = None,
    admin: _Admins = None,
    encryption_context: _Context = None,
    encrypt_principal: _Owners = None,
) -> None:
    """Write a key policy to stdout.

    Example: `blindgate policy write --pcrs blue.json --pcrs green.json --role ARN --admin ARN`
    """
    from blindgate.attestation import PcrSet
    from blindgate.errors import BlindgateError
    from blindgate.policy.writer import write_policy

    if not (pcrs and role and admin):
        fail(
            "a policy is written from --pcrs, --role and --admin",
            "Each of them may be given more than once; see blindgate policy --help",
            code=2,
        )
    pairs = dict(_pair(each) for each in encryption_context or [])
    try:
        document = write_policy(
            pcr_sets=[PcrSet.from_file(path) for path in pcrs],
            roles=role,
            admins=admin,
            owners=encrypt_principal or [],
            encryption_context=pairs,
        )
    except BlindgateError as error:
        fail(str(error))
    emit_json(json.dumps(document, indent=2))


@policy.command()
def lint(
    file: Annotated[Path, typer.Argument(help="The policy, as JSON.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON to stdout.")
    ] = False,
) -> None:
    """Find the holes in a key policy; exit code 1 if there is one.

    Example: `aws kms get-key-policy --key-id alias/mine --query Policy --output text >
    policy.json && blindgate policy lint policy.json`
    """
    from dataclasses import asdict

    from blindgate.policy.errors import MalformedPolicyError
    from blindgate.policy.lint import Severity
    from blindgate.policy.lint import lint as check

    try:
        findings = check(read_file(file, limit=_MAX_POLICY).decode())
    except (MalformedPolicyError, UnicodeDecodeError) as error:
        fail(f"{file} is not a key policy: {error}")
    if as_json:
        emit_json(json.dumps([asdict(each) for each in findings], indent=2))
    for each in findings if not as_json else []:
        style = "red" if each.severity is Severity.ERROR else "yellow"
        err.print(f"{each.code} {each.severity}: {each.place}", style=style)
        err.print(f"  {each.message}")
        err.print(f"  fix: {each.fix}")
    if any(each.severity is Severity.ERROR for each in findings):
        raise typer.Exit(1)
    if not findings and not as_json:
        err.print(f"{file}: no holes found", style="green")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        fail(f"{text!r} is not an encryption context", "Write it as name=value", code=2)
    return name, value
