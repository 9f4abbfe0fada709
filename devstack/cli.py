"""`blindgate dev …`: the stand-ins for what only AWS has, one by one and together."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from blindgate.cli.console import err, fail, out
from devstack.kms.command import kms

app = typer.Typer(
    help="Run Blindgate on one machine, without AWS.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("kms")(kms)

_State = Annotated[
    Path | None,
    typer.Option(
        help="Where keys and configuration are kept.  [default: $BLINDGATE_DEV_ROOT, or "
        "blindgate/dev in your state folder]"
    ),
]


def _need(*modules: str) -> None:
    """See that packages are there before anything starts that fails without them later.

    Raises:
        ModuleNotFoundError: One is not.
    """
    for name in ("numpy", "onnx", "onnxruntime", "uvicorn", "yaml", *modules):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class EnclaveKind(StrEnum):
    """What the worker runs in."""

    PROCESS = "process"
    EMULATED = "emulated"


@app.command()
def up(
    state: _State = None,
    port: Annotated[int, typer.Option(help="The gateway's port; 0 takes a free one.")] = 8080,
    kms_port: Annotated[int, typer.Option(help="The dev KMS's port; 0 takes a free one.")] = 4599,
    model: Annotated[
        str, typer.Option(help="A model's name, or a folder with model.toml and model.onnx.")
    ] = "",
    sealed_answers_only: Annotated[
        bool, typer.Option(help="Measure a worker that gives no answer outside OHTTP.")
    ] = False,
    enclave: Annotated[
        EnclaveKind,
        typer.Option(
            help="Run the worker as a process, or boot the real enclave image on emulated hardware."
        ),
    ] = EnclaveKind.PROCESS,
    console: Annotated[
        bool, typer.Option(help="Build the gateway's page first if it is missing (needs Node).")
    ] = True,
) -> None:
    """Run the whole of Blindgate in the foreground until Ctrl-C.

    Starts the dev KMS, the dev NSM, the vsock-proxy stand-in, the worker and the gateway, shows
    their logs, and prints how to use them.

    Example: `blindgate dev up --port 8080`
    """
    _need()
    from devstack.foreground import run
    from devstack.model import obtain
    from devstack.page import prepare_page
    from devstack.places import Places, default_state
    from devstack.stack import Options

    places = Places.prepare(state or default_state())
    if console:
        prepare_page(lambda line: err.print(line, style="dim", markup=False))
    options = Options(
        model=obtain(model),
        answers="sealed" if sealed_answers_only else "open",
        gateway_port=port,
        kms_port=kms_port,
        enclave=enclave.value,
    )
    asyncio.run(run(places, options))


@app.command()
def status(state: _State = None) -> None:
    """Say what runs; exit code 1 if nothing does, or not all of it.

    Example: `blindgate dev status`
    """
    from rich.table import Table

    from devstack.places import Places, default_state
    from devstack.stack import Running, is_alive

    places = Places(state or default_state(), Path())
    running = Running.read(places)
    if running is None:
        fail(f"nothing runs in {places.state}", "Start it with: blindgate dev up")
    table = Table("program", "process", "state", box=None)
    for name, pid in running.pids.items():
        alive = is_alive(pid)
        table.add_row(name, str(pid), "[green]runs[/]" if alive else "[red]ended[/]")
    out.print(table)
    out.print(f"gateway  {running.gateway}\nKMS      {running.kms}  {running.key_alias}")
    raise typer.Exit(0 if all(map(is_alive, running.pids.values())) else 1)


@app.command("env")
def environment(state: _State = None) -> None:
    """Print what makes AWS's tools speak to the dev KMS, for a shell to evaluate.

    Example: `eval "$(blindgate dev env)" && aws kms list-aliases`
    """
    import shlex

    from devstack.places import Places, default_state
    from devstack.stack import Running

    places = Places(state or default_state(), Path())
    running = Running.read(places)
    if running is None:
        fail(f"nothing runs in {places.state}", "Start it with: blindgate dev up")
    for name, value in running.client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def demo(
    photo: Annotated[
        Path | None,
        typer.Option(help="A JPEG, PNG or WebP photo.  [default: one from scikit-image]"),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the results go.")] = Path("out/demo"),
) -> None:
    """Show the whole idea on one photo: encrypt, detect inside the worker, refuse the parent.

    Example: `blindgate dev demo --photo holiday.jpg`
    """
    _need(*([] if photo else ["skimage"]))
    from devstack.demo import default_photo, show

    if photo is not None and not os.access(photo, os.R_OK):
        fail(f"{photo} cannot be read", "Name a photo with PHOTO=path or --photo path", code=2)
    err.print("Blindgate, end to end on one machine", style="bold")
    asyncio.run(show(photo or default_photo(), output))
