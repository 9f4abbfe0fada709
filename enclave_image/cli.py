"""`blindgate image …`: build enclave images, and read any."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from blindgate.atomic_files import write_file
from blindgate.cli.console import emit_json, err, fail, out, table
from blindgate.cli.files import Force, check_folder, check_new, read_file, write_new
from blindgate.printable import printable
from enclave_image.build import Built
from enclave_image.eif import Image

image = typer.Typer(
    help="Build enclave images that anybody can build again, and read any.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_MIB = 1024 * 1024
_File = Annotated[Path, typer.Argument(metavar="FILE", help="An enclave image (.eif).")]
_Mirror = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A Debian mirror's `debian` folder.  [default: $BLINDGATE_DEBIAN_MIRROR, then the "
        "one that apt uses here, then snapshot.debian.org]",
    ),
]


@image.command()
def build(
    config: Annotated[
        Path, typer.Option(metavar="TOML", help="The measured configuration, enclave.toml.")
    ],
    model: Annotated[
        str, typer.Option(help="A model's name, or a folder with model.toml and model.onnx.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="EIF", help="What to write.")],
    kernel: Annotated[
        Path | None,
        typer.Option(
            help="Another kernel than our own: a bzImage with the options that an enclave needs."
        ),
    ] = None,
    kernel_config: Annotated[
        Path | None,
        typer.Option(
            help="The .config of that kernel.  [default: the one inside it, then KERNEL.config]"
        ),
    ] = None,
    module: Annotated[
        list[Path] | None,
        typer.Option(help="A signed module for that kernel; repeat in the order of inserting."),
    ] = None,
    command_line: Annotated[
        str | None, typer.Option(help="The kernel's command line, instead of ours.")
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="Of the enclave: x86_64, or arm64 for Graviton.")
    ] = "x86_64",
    mirror: _Mirror = None,
    force: Force = False,
) -> None:
    """Build an enclave image from locked inputs: no Docker, no nitro-cli, no root.

    Prints PCR0, PCR1 and PCR2 as nitro-cli does, and writes them beside the image
    (`.pcrs.json`) with a list of its ingredients (`.sbom.json`, CycloneDX) and the memory and CPUs
    that its enclave needs (`.requirements.json`). The same inputs give the same bytes on every
    machine.

    Example: `blindgate image build --config enclave.toml --model ssd-mobilenet-v2-coco -o b.eif`
    """
    from enclave_image.architecture import named
    from enclave_image.build import Recipe
    from enclave_image.build import build as build_image
    from enclave_image.debian.mirrors import find_mirrors

    if (module or kernel_config) and kernel is None:
        fail(
            "--module and --kernel-config belong to a kernel of your own",
            "Give --kernel too",
            code=2,
        )
    folder = _model_folder(model)
    modules = tuple(module or ())
    beside = (".pcrs.json", ".sbom.json", ".requirements.json")
    targets = (output, *map(output.with_suffix, beside))
    inputs = (
        *(config, kernel, kernel_config, *modules),
        *(folder / "model.toml", folder / "model.onnx"),
    )
    for target in targets:
        check_new(target, force=force, inputs=filter(None, inputs), make_folder=True)
    if len(set(targets)) < len(targets):
        fail(f"{output} is the name of a file that lies beside the image", code=2)
    recipe = Recipe(
        config,
        folder,
        kernel=kernel,
        kernel_config=kernel_config,
        modules=modules,
        command_line=command_line,
        architecture=named(architecture),
    )
    built = build_image(
        recipe,
        mirrors=find_mirrors(mirror),
        said=lambda step: err.print(f"  {step}", style="dim"),
    )
    texts = (built.measurements.to_json(), built.sbom, built.requirements.to_json())
    contents = (built.eif, *(text.encode() for text in texts))
    with contextlib.ExitStack() as undo:
        for target, content in zip(targets, contents, strict=True):
            write_new(target, content, force=force)
            undo.callback(_remove, target)
        undo.pop_all()  # an image without its measurements would be half of the output
    _report(built, output)
    typer.echo(built.measurements.to_json(), nl=False)


@image.command()
def pcrs(file: _File) -> None:
    """Print the measurements of any enclave image, as nitro-cli prints them.

    Example: `blindgate image pcrs blindgate.eif`
    """
    from enclave_image.pcrs import measure

    typer.echo(measure(_read(file)).to_json(), nl=False)


@image.command()
def inspect(
    file: _File,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what an enclave image is made of. Its checksum is verified; nothing in it runs.

    Example: `blindgate image inspect blindgate.eif`
    """
    from enclave_image.kernel.formats import version
    from enclave_image.pcrs import measure

    found = _read(file)
    measurements = measure(found)
    about = {
        "architecture": "arm64" if found.arm64 else "x86_64",
        "kernel": version(bytes(found.kernel)),
        "command_line": found.command_line.decode(errors="replace"),
        "signed": found.signed,
        "sections": [
            {
                "type": section.kind.name.lower(),
                "bytes": len(section.data),
                "measured_in": _measured_in(found, index),
            }
            for index, section in enumerate(found.sections)
        ],
        **json.loads(measurements.to_json()),
        "unmeasured_metadata": found.metadata(),
    }
    if as_json:
        emit_json(json.dumps(about, indent=2))
        return
    shown = table("section", "size", "measured in")
    for section in about["sections"]:
        size = (
            f"{section['bytes'] / _MIB:.1f} MiB"
            if section["bytes"] >= _MIB
            else (f"{section['bytes']} B")
        )
        shown.add_row(section["type"].replace("_", " "), size, ", ".join(section["measured_in"]))
    out.print(shown)
    out.print(f"\nkernel        {printable(about['kernel'])} ({about['architecture']})")
    out.print(f"command line  {printable(about['command_line'])}")
    out.print(f"signed        {'yes, see PCR8' if found.signed else 'no'}")
    for name in ("PCR0", "PCR1", "PCR2"):
        out.print(f"{name}          {about['Measurements'][name]}")
    if about["unmeasured_metadata"]:
        out.print("\nWhat its builder says of it (not measured: anyone can write this):")
        emit_json(json.dumps(about["unmeasured_metadata"], indent=2))


@image.command("lock")
def renew_lock(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The lock.  [default: locks/debian-enclave.toml]"),
    ] = None,
    mirror: _Mirror = None,
    allow_expired: Annotated[
        bool,
        typer.Option(
            help="Take an index whose validity has ended, as frozen mirrors have. Those who "
            "control the mirror can then hide newer versions from you."
        ),
    ] = False,
) -> None:
    """Renew a lock of Debian packages: the newest versions, their signatures checked by apt.

    Works in a private folder; the machine's own packages stay as they are.

    Example: `blindgate image lock && git diff locks`
    """
    from enclave_image.architecture import X86_64
    from enclave_image.build import debian_lock
    from enclave_image.debian.lock import read, to_text
    from enclave_image.debian.mirrors import find_mirrors
    from enclave_image.debian.renew import renew

    path = file or debian_lock(X86_64)
    before = read(path)
    check_folder(path.resolve().parent)
    after = renew(before.asked, find_mirrors(mirror), allow_expired=allow_expired)
    versions = {each.name: each.version for each in before.packages}
    changed = [each for each in after.packages if versions.get(each.name) != each.version]
    for each in changed:
        err.print(f"  {each.name} {versions.get(each.name, 'new')} -> {each.version}")
    write_file(path, to_text(after).encode())
    err.print(f"{path}: {len(after.packages)} packages, {len(changed)} of them changed")


def _measured_in(found: Image, index: int) -> list[str]:
    from enclave_image.eif import SectionType

    section = found.sections[index]
    if section.kind in (SectionType.KERNEL, SectionType.COMMAND_LINE):
        return ["PCR0", "PCR1"]
    if section.kind is not SectionType.RAMDISK:
        return ["PCR8"] if section.kind is SectionType.SIGNATURE else ["nothing"]
    first = next(each for each in found.sections if each.kind is SectionType.RAMDISK)
    return ["PCR0", "PCR1" if section is first else "PCR2"]


def _read(path: Path) -> Image:
    from enclave_image.eif import MAX_BYTES, read
    from enclave_image.errors import MalformedImage

    try:
        return read(read_file(path, limit=MAX_BYTES))
    except MalformedImage as error:
        raise MalformedImage(f"{path}: {error}") from None


def _model_folder(model: str) -> Path:
    from blindgate.cache import cache_folder

    folder = Path(model)
    if not folder.is_dir():
        folder = cache_folder() / "models" / model
    if not model or (folder != Path(model) and "/" in model) or not folder.is_dir():
        fail(f"there is no model {model}", f"Get it with: blindgate models pull {model}", code=2)
    if not (folder / "model.toml").is_file():
        fail(f"{folder} is not the folder of a model: it has no model.toml", code=2)
    return folder


def _remove(path: Path) -> None:
    if path.is_file():  # and not /dev/null
        path.unlink()


def _report(built: Built, output: Path) -> None:
    err.print(f"{output}: {len(built.eif) / _MIB:.0f} MiB")
    err.print(
        f"files in memory {built.unpacked / _MIB:.0f} MiB; give the enclave "
        f"{built.requirements.memory_mib} MiB and {built.requirements.cpus} vCPUs or more"
    )
