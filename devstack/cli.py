"""`blindgate dev …`: the stand-ins for what only AWS has, one by one and together."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindgate.cli.console import err, fail, out, table
from blindgate.cli.drawing import check_drawing
from blindgate.cli.files import Force, check_new
from devstack.kms.command import kms

if TYPE_CHECKING:
    from devstack.stack import Running

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


class Architecture(StrEnum):
    """Which hardware is emulated."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


@app.command()
def up(
    state: _State = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's port; 0 takes a free one.")
    ] = 8080,
    kms_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The dev KMS's port; 0 takes a free one.")
    ] = 4599,
    model: Annotated[
        str, typer.Option(help="A model's name, or a folder with model.toml and model.onnx.")
    ] = "",
    sealed_answers_only: Annotated[
        bool, typer.Option(help="Measure a worker that gives sealed answers only.")
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
    architecture: Annotated[
        Architecture, typer.Option(help="Of the emulated hardware; arm64 is Graviton's.")
    ] = Architecture.X86_64,
) -> None:
    """Run all of Blindgate in the foreground until Ctrl-C.

    Starts the dev KMS, the dev NSM, the vsock-proxy stand-in, the worker and the gateway, shows
    their logs, and prints how to use them.

    Example: `blindgate dev up --port 8080`
    """
    _need()
    from devstack.foreground import refuse_second, run
    from devstack.page import prepare_page
    from devstack.places import Places, default_state
    from devstack.stack import Options, check_port

    if (port or kms_port) and port == kms_port:
        fail(f"the gateway and the dev KMS cannot both have port {port}", code=2)
    places = Places.prepare(state or default_state())
    refuse_second(places)
    check_port(port, "--port")
    check_port(kms_port, "--kms-port")
    if console:
        prepare_page(lambda line: err.print(line, style="dim"))
    options = Options(
        model=_model(model),
        answers="sealed" if sealed_answers_only else "open",
        gateway_port=port,
        kms_port=kms_port,
        enclave=enclave.value,
        architecture=architecture.value,
    )
    asyncio.run(run(places, options))


@app.command()
def status(state: _State = None) -> None:
    """Show what runs; exit code 1 if nothing does, or not all of it.

    Example: `blindgate dev status`
    """
    from devstack.stack import is_alive

    running = _running(state)
    shown = table("program", "process", "state")
    for name, pid in running.pids.items():
        alive = is_alive(pid)
        shown.add_row(name, str(pid), "runs" if alive else "ended", style="" if alive else "red")
    out.print(shown)
    out.print(f"gateway  {running.gateway}\nKMS      {running.kms}  {running.key_alias}")
    raise typer.Exit(0 if all(map(is_alive, running.pids.values())) else 1)


@app.command("env")
def environment(state: _State = None) -> None:
    """Print variables for a shell to evaluate: AWS's tools speak to the dev KMS then.

    `blindgate detect` and `blindgate verify` find the gateway and the development root, too.

    Example: `eval "$(blindgate dev env)" && aws kms list-aliases`
    """
    import shlex

    for name, value in _running(state).client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def demo(
    photo: Annotated[
        Path | None,
        typer.Option(help="A JPEG, PNG or WebP photo.  [default: one from scikit-image]"),
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder where the results go.")] = Path(
        "out/demo"
    ),
    force: Force = False,
) -> None:
    """Show everything on one photo: encrypt, detect inside the worker, refuse the parent.

    Example: `blindgate dev demo --photo holiday.jpg`
    """
    _need(*([] if photo else ["skimage"]))
    from devstack.demo import default_photo, results, show

    chosen = photo or default_photo()
    files = results(chosen, output)
    check_drawing(chosen, files.annotated, force=force, make_folder=True)
    check_new(files.encrypted, force=force, inputs=[chosen], make_folder=True)
    if not files.is_copied(chosen):
        check_new(files.copy, force=force, inputs=[chosen], make_folder=True)
    model = _model("")
    err.print("Blindgate, end to end on one machine", style="bold")
    asyncio.run(show(chosen, files, model))


def _running(state: Path | None) -> Running:
    """What runs in a folder; if nothing does, the command ends."""
    from devstack.foreground import state_option
    from devstack.places import Places, default_state
    from devstack.stack import Running

    places = Places(state or default_state(), Path())
    running = Running.read(places)
    if running is None:
        option = state_option(places.state)
        fail(f"nothing runs in {places.state}", f"Start it with: blindgate dev up{option}")
    return running


def _model(name: str) -> Path:
    """The folder of a model; if it cannot be had, the command that pulls it has said why."""
    from devstack.model import NoModel, obtain

    try:
        return obtain(name)
    except NoModel as error:
        if str(error):
            raise
        raise typer.Exit(1) from None
