"""`blindgate doctor`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from blindgate.cli.console import emit_json, err, fail, out
from blindgate.cli.files import Force, check_new, read_file, write_new
from gateway.doctor.checks import CHECKS
from gateway.doctor.examination import CHECK_SECONDS, Progress, examine
from gateway.doctor.host import Host, ThisMachine
from gateway.doctor.report import as_json, count, summary, write_report
from gateway.doctor.result import Outcome, Result
from gateway.doctor.setup import IMDS, read_setup

doctor = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

#: KMS takes 32 KiB; with spaces and line breaks it may be longer.
_MAX_POLICY: Final = 1024 * 1024
_STYLES: Final = {
    Outcome.OK: "green",
    Outcome.FAILED: "red",
    Outcome.UNKNOWN: "yellow",
    Outcome.SKIPPED: "dim",
}


@doctor.callback()
def doctor_command(
    as_json_text: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON to stdout.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Also write everything that a bug report needs, without secrets.",
        ),
    ] = None,
    force: Force = False,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="Also look at this image.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="ARN", help="KMS keys to check, instead of the image's."),
    ] = None,
    key_policy: Annotated[
        Path | None,
        typer.Option(
            "--key-policy", metavar="FILE", help="A key policy to check, instead of asking KMS."
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="AWS Region, instead of the installed one.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=600, help="Seconds for each check.")
    ] = CHECK_SECONDS,
) -> None:
    """Say what is wrong with this parent instance, and how to fix it.

    Run it as root on the instance. It changes nothing. The exit code is 0 if nothing failed;
    `unknown` and `skipped` are no failures.

    Example: `blindgate doctor --report report.json`
    """
    host = ThisMachine()
    inputs = [each for each in (image, key_policy) if each is not None]
    if report is not None:
        check_new(report, force=force, inputs=inputs)
    policy = None
    if key_policy is not None:
        try:
            policy = read_file(key_policy, limit=_MAX_POLICY).decode()
        except UnicodeDecodeError:
            fail(f"{key_policy} is not text", code=2)
    code = run(
        host,
        image=str(image) if image else None,
        region=region,
        key_arns=tuple(key or ()),
        key_policy=policy,
        imds=os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or IMDS,
        seconds=timeout,
        as_json_text=as_json_text,
        report=report,
        force=force,
    )
    raise typer.Exit(code)


def run(
    host: Host,
    *,
    image: str | None = None,
    region: str | None = None,
    key_arns: tuple[str, ...] = (),
    key_policy: str | None = None,
    imds: str = IMDS,
    seconds: float = CHECK_SECONDS,
    as_json_text: bool = False,
    report: Path | None = None,
    force: bool = False,
) -> int:
    """Examine a machine, print the results and write the report; returns the exit code."""
    setup = read_setup(
        host, image=image, region=region, key_arns=key_arns, key_policy=key_policy, imds=imds
    )
    with _progress() as progress:
        results = examine(host, setup, CHECKS, seconds=seconds, progress=progress)
    if as_json_text:
        emit_json(json.dumps(as_json(results), indent=2))
    else:
        show(results)
    if report is not None:
        with err.status("writing the report"):
            content = write_report(host, setup, results)
        write_new(report, content, force=force)
        err.print(f"Wrote {report}: no secrets, no account numbers. Read it before you send it.")
    return 1 if count(results, Outcome.FAILED) else 0


def show(results: Mapping[str, Result]) -> None:
    """Print one line for each check, and what to do next below those that need something."""
    width = max(map(len, results), default=0)
    indent = " " * (8 + width + 2)
    for name, each in results.items():
        style = _STYLES[each.outcome]
        out.print(f"{each.outcome.value:8}", style=style, end="")
        out.print(f"{name:{width}}  {_one_line(each.seen)}")
        if each.fix and each.outcome in (Outcome.FAILED, Outcome.UNKNOWN):
            out.print(f"{indent}-> {_one_line(each.fix)}")
    out.print(summary(results), style="bold")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """What still runs, on standard error; only a terminal shows it."""
    with err.status("looking") as status:

        def update(waiting: Sequence[str]) -> None:
            status.update(f"{len(waiting)} checks run: {', '.join(waiting)}")

        yield update
