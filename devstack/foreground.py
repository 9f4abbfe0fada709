"""`blindgate dev up`: the stack in the foreground, with everything a person needs to use it."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

from rich.text import Text

from blindgate.cli.console import err
from devstack.places import Places, default_state
from devstack.stack import Options, Running, Stack, StackError
from devstack.supervisor import Supervisor

OCTETS: Final = "content-type: application/octet-stream"


async def run(places: Places, options: Options) -> None:
    """Run until SIGINT or SIGTERM, or until a program dies.

    Raises:
        StackError: It runs already, or cannot be started.
        ProgramDied: A program ended; the message holds its last lines.
    """
    refuse_second(places)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Supervisor(err) as supervisor:
        stack = _stack(places, options, supervisor)
        try:
            starting = asyncio.create_task(_serve(stack, supervisor))
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if starting.done():
                await starting
            starting.cancel()
            err.print("stopping", style="bold")
        finally:
            stack.stopped()


def refuse_second(places: Places) -> None:
    """See that no stack runs in a folder.

    Raises:
        StackError: One does.
    """
    if (already := Running.read(places)) is not None:
        raise StackError(
            f"a stack runs in {places.state} already, at {already.gateway}. "
            "Stop it with Ctrl-C where it was started, or use another --state"
        )


def _stack(places: Places, options: Options, supervisor: Supervisor) -> Stack:
    if options.enclave == "process":
        return Stack(places, options, supervisor)
    from devstack.qemu.stack import EmulatedStack

    return EmulatedStack(places, options, supervisor, lambda step: err.print(f"  {step}"))


async def _serve(stack: Stack, supervisor: Supervisor) -> None:
    running = await stack.start(lambda step: err.print(f"starting: {step}", style="dim"))
    err.print(_welcome(running))
    await supervisor.wait_for_death()


def _welcome(running: Running) -> Text:
    """Lines that can be pasted as they stand: no frame around them, nothing cut off."""
    rule = Text("─" * 72 + "\n", style="green")
    text = rule.copy().append("Blindgate runs. Ctrl-C stops everything.\n\n", style="bold green")
    text.append(f"  console  {running.gateway}/   (API: {running.gateway}/docs)\n")
    text.append(f"  KMS      {running.kms}   key: {running.key_alias}\n")
    text.append(f"  state    {running.state}\n\n")
    text.append("In another shell:\n\n", style="bold")
    program = _program()
    for line in (
        f'eval "$({program} dev env{state_option(Path(running.state))})"',
        f"{program} encrypt PHOTO --key-id {running.key_alias}",
        f"curl --data-binary @PHOTO.encrypted -H '{OCTETS}' {running.gateway}/v1/detections",
        f"{program} detect PHOTO --gateway {running.gateway} --trust development",
        f"{program} verify --gateway {running.gateway} --trust development",
    ):
        text.append(f"  {line}\n", style="cyan")
    return text.append_text(rule)


def state_option(state: Path) -> str:
    """The option that names a folder, if it is not the default one."""
    is_default = state.absolute() == default_state().absolute()
    return "" if is_default else f" --state {shlex.quote(str(state.absolute()))}"


def _program() -> str:
    """What runs this command in another shell, too: its name, if that is found there."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m blindgate"
    found = shutil.which("blindgate")
    if found is not None and Path(found).resolve() == called.resolve():
        return "blindgate"
    return shlex.quote(str(called.absolute()))
