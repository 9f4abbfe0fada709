"""`blindgate models …`: obtain, inspect, check, measure and quantize detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blindgate.cli.console import emit, emit_json, err, fail, out, table
from blindgate.cli.files import Force, check_folder, check_new, read_file, write_new
from blindgate.printable import printable

app = typer.Typer(
    name="models",
    help="Detectors: obtain them, bring your own, measure and quantize them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Name = Annotated[str, typer.Argument(help="A model, as `blindgate models list` names it.")]
Coco = Annotated[
    Path,
    typer.Option(help="Annotated images in COCO's format: instances.json next to images/."),
]


@app.command("list")
def list_models() -> None:
    """Show the models that there are.

    Example: `blindgate models list`
    """
    from models import registry
    from models.cache import model_folder
    from models.fetch import is_pulled

    shown = table("model", "version", "family", "input", "licence", "here")
    for name in [*registry.names(), *registry.added()]:
        model = registry.find(name)
        manifest = model.manifest
        here = not model.shipped or is_pulled(model, model_folder(name))
        shown.add_row(
            name,
            manifest.version,
            manifest.family,
            f"{manifest.input.width}x{manifest.input.height}",
            manifest.licence.spdx,
            "yes" if here else "-",
        )
    out.print(shown)
    out.print(f"The default is {registry.DEFAULT}.")


@app.command()
def pull(
    name: Annotated[str | None, typer.Argument(help="Default: the default detector.")] = None,
    brought: Annotated[
        Path | None,
        typer.Option("--from", help="The ONNX file of a model that no registry has."),
    ] = None,
) -> None:
    """Obtain a model: download, check, export, all into the cache. Prints its folder.

    Example: `blindgate models pull`
    """
    from models import fetch, registry
    from models.progress import bar

    with bar() as progress:
        folder = fetch.pull(name or registry.DEFAULT, progress=progress, brought=brought)
    emit(str(folder))


@app.command()
def info(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say everything about a model.

    Example: `blindgate models info ssd-mobilenet-v2-coco`
    """
    import json

    from models import registry

    model = registry.find(name)
    content = model.manifest.model_dump(mode="json", exclude_none=True)
    content["manifest_sha256"] = model.digest.hex()
    if as_json:
        emit_json(json.dumps(content, indent=2))
        return
    content["labels"] = ", ".join(model.manifest.known_labels)
    # Lines instead of a table: a digest must be there whole, on one line, to be compared.
    for key, value in content.items():
        if isinstance(value, dict):
            out.print(key, style="bold")
            for part, entry in value.items():
                out.print(f"  {printable(part)}: {printable(entry)}")
        else:
            out.print(f"{key}: {printable(value)}")


@app.command()
def remove(name: Name) -> None:
    """Remove a model from the cache: one of yours, or what was pulled of one that ships.

    Example: `blindgate models remove my-yolox-int8`
    """
    from models.cache import remove_model

    err.print(f"removed: {remove_model(name)}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The ONNX file.")],
    manifest: Annotated[Path, typer.Option(help="Its model.toml.")],
    photo: Annotated[
        Path | None, typer.Option("--photo", "--picture", help="A photo to try it on.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the annotated photo goes.")] = Path(
        "checked.png"
    ),
    install: Annotated[
        bool,
        typer.Option(
            "--install",
            help="Put the model into the cache if it fits; with --force over another of its name.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Say whether an ONNX file fits a manifest, and show what it finds on a photo.

    Example: `blindgate models check yolox_s.onnx --manifest model.toml --photo street.jpg`
    """
    from blindgate.cli.drawing import check_drawing, drawing
    from models import check as checking

    if photo is not None:
        check_drawing(photo, output, inputs=(file, manifest), force=force)
    detector, text = checking.fitted(file, manifest)
    name = detector.manifest.name
    if install:
        checking.check_name(name, detector.manifest_digest, force=force)
    err.print(f"{file} fits {manifest}: {name}, manifest digest {detector.manifest_digest.hex()}")
    if photo is None:
        err.print("With --photo PHOTO you see what it finds.")
    else:
        content = read_file(photo)
        found = detector.detect(content)
        write_new(output, drawing(content, photo, found, output), force=force)
        for each in found.detections:
            out.print(f"{each.label} {each.score:.3f}")
        err.print(f"{len(found.detections)} objects, drawn into {output}")
    if install:
        folder = checking.install(file, text, name)
        err.print(f"Installed: {folder}")


@app.command("eval")
def evaluate(
    name: Name,
    coco: Coco,
    tiles: Annotated[int, typer.Option(min=1, max=3, help="As a client may ask.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Measure a model's accuracy on annotated images.

    Example: `blindgate models eval ssd-mobilenet-v2-coco --coco val2017 --tiles 2`
    """
    from dataclasses import asdict
    from json import dumps

    from enclave_app.detector import Detector
    from models import coco as data
    from models import fetch
    from models.progress import bar

    pictures = data.CocoSet.open(coco)
    with bar() as progress:
        detector = Detector.load(fetch.pull(name, progress=progress))
        accuracy = data.evaluate(detector.detect, pictures, tiles=tiles, progress=progress)
    if json:
        emit_json(dumps({"model": detector.manifest.name, "tiles": tiles} | asdict(accuracy)))
        return
    shown = table("model", "tiles", "images", "AP", "AP50", "AP75", "small", "medium", "large")
    figures = (accuracy.ap, accuracy.ap_50, accuracy.ap_75)
    sizes = (accuracy.small, accuracy.medium, accuracy.large)
    shown.add_row(
        detector.manifest.name,
        str(tiles),
        str(accuracy.pictures),
        *(f"{figure:.3f}" for figure in (*figures, *sizes)),
    )
    out.print(shown)


@app.command()
def quantize(
    name: Name,
    calibrate: Annotated[
        Path, typer.Option(help="A folder of photos like those that the model will see.")
    ],
    coco: Coco,
    write: Annotated[
        Path | None,
        typer.Option(help="Also write manifest and value ranges here, to be kept in git."),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=8, help="Images that one run may take, if the graph's first size is free."
        ),
    ] = 1,
    force: Force = False,
) -> None:
    """Make the 8-bit twin NAME-int8 of a model, and measure both.

    Example: `blindgate models quantize yolox-nano --calibrate photos --coco val2017`
    """
    from models import fetch
    from models.cache import model_folder
    from models.coco import CocoSet
    from models.progress import bar
    from models.quantize import MOST_LOST, install, keep, kept_files, quantized

    data = CocoSet.open(coco)
    if not calibrate.is_dir():
        fail(f"{calibrate} is not a folder of photos", code=2)
    if write is not None:
        for path in kept_files(write):
            check_new(path, force=force, make_folder=True)
    target = model_folder(f"{name}-int8")
    if target.exists() and not force:
        fail(f"the cache has a model {target.name} already", "--force replaces it")
    check_folder(target.parent, make=True)
    with bar() as progress:
        folder = fetch.pull(name, progress=progress)
        twin = quantized(folder, calibrate, data, coco.resolve().name, progress, batch=batch)
    out.print(
        f"{twin.manifest.name}: AP {twin.accuracy.ap:.4f} (float: {twin.base.ap:.4f}), "
        f"{twin.speedup:.2f} times as fast at one thread, {len(twin.onnx) / 1e6:.1f} MB"
    )
    if not force and (twin.accuracy.ap < twin.base.ap - MOST_LOST or twin.speedup < 1):
        fail(f"not a good trade, so nothing was kept: use {name}", "--force keeps the twin")
    install(twin, folder, target)
    if write is not None:
        keep(twin, folder, write)
    err.print(f"in {target}")
