"""`blindgate models …`: obtain, inspect, check, measure and quantize detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blindgate.cli.console import err, fail, out

app = typer.Typer(
    name="models",
    help="Detectors: obtain them, bring your own, measure and quantize them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Name = Annotated[str, typer.Argument(help="A model, as `blindgate models list` names it.")]
Coco = Annotated[
    Path,
    typer.Option(help="Annotated pictures in COCO's format: instances.json beside images/."),
]


@app.command("list")
def list_models() -> None:
    """Show the models that there are.

    Example: `blindgate models list`
    """
    from rich.box import SIMPLE
    from rich.table import Table

    from models import registry
    from models.cache import model_folder
    from models.fetch import is_pulled

    table = Table("model", "version", "family", "input", "licence", "here", box=SIMPLE)
    table.columns[0].no_wrap = True
    for name in [*registry.names(), *registry.added()]:
        model = registry.find(name)
        manifest = model.manifest
        here = not model.shipped or is_pulled(model, model_folder(name))
        table.add_row(
            name,
            manifest.version,
            manifest.family,
            f"{manifest.input.width}x{manifest.input.height}",
            manifest.licence.spdx,
            "yes" if here else "-",
        )
    out.print(table)
    out.print(f"The default is {registry.DEFAULT}.")


@app.command()
def pull(
    name: Annotated[str | None, typer.Argument(help="The default detector if left out.")] = None,
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
    out.print(str(folder), markup=False)


@app.command()
def info(name: Name) -> None:
    """Say everything about a model.

    Example: `blindgate models info ssd-mobilenet-v2-coco`
    """
    from rich.table import Table

    from models import registry

    model = registry.find(name)
    table = Table(show_header=False, box=None)
    content = model.manifest.model_dump(mode="json", exclude_none=True)
    content["labels"] = ", ".join(model.manifest.known_labels)
    for key, value in content.items():
        if isinstance(value, dict):
            value = "\n".join(f"{part}: {entry}" for part, entry in value.items())  # noqa: PLW2901
        table.add_row(key, str(value))
    table.add_row("manifest digest", model.digest.hex())
    out.print(table)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The ONNX file.")],
    manifest: Annotated[Path, typer.Option(help="Its model.toml.")],
    picture: Annotated[Path | None, typer.Option(help="A photo to try it on.")] = None,
    output: Annotated[Path, typer.Option(help="Where the annotated photo goes.")] = Path(
        "checked.png"
    ),
    install: Annotated[
        bool, typer.Option("--install", help="Put the model into the cache if it fits.")
    ] = False,
) -> None:
    """Say whether an ONNX file fits a manifest, and show what it finds on a photo.

    Example: `blindgate models check yolox_s.onnx --manifest model.toml --picture street.jpg`
    """
    from blindgate.annotate import annotate
    from models import check as checking

    detector, text = checking.fitted(file, manifest)
    name = detector.manifest.name
    err.print(f"{file} fits {manifest}: {name}, manifest digest {detector.manifest_digest.hex()}")
    if picture is None:
        err.print("With --picture PHOTO you see what it finds.")
    else:
        try:
            photo = picture.read_bytes()
        except OSError as error:
            fail(f"cannot read {picture}: {error.strerror}")
        found = detector.detect(photo)
        annotate(photo, found).save(output)
        for each in found.detections:
            out.print(f"{each.label} {each.score:.3f}", markup=False)
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
    """Measure a model's accuracy on annotated pictures.

    Example: `blindgate models eval ssd-mobilenet-v2-coco --coco val2017 --tiles 2`
    """
    from dataclasses import asdict
    from json import dumps

    from rich.table import Table

    from enclave_app.detector import Detector
    from models import coco as data
    from models import fetch
    from models.progress import bar

    with bar() as progress:
        detector = Detector.load(fetch.pull(name, progress=progress))
        pictures = data.CocoSet.open(coco)
        accuracy = data.evaluate(detector.detect, pictures, tiles=tiles, progress=progress)
    if json:
        out.print(dumps({"model": detector.manifest.name, "tiles": tiles} | asdict(accuracy)))
        return
    table = Table("model", "tiles", "pictures", "AP", "AP50", "AP75", "small", "medium", "large")
    figures = (accuracy.ap, accuracy.ap_50, accuracy.ap_75)
    sizes = (accuracy.small, accuracy.medium, accuracy.large)
    table.add_row(
        detector.manifest.name,
        str(tiles),
        str(accuracy.pictures),
        *(f"{figure:.3f}" for figure in (*figures, *sizes)),
    )
    out.print(table)


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
            min=1, max=8, help="Pictures that one run may take, if the graph's first size is free."
        ),
    ] = 1,
) -> None:
    """Make the 8-bit twin NAME-int8 of a model, and measure both.

    Example: `blindgate models quantize yolox-nano --calibrate photos --coco val2017`
    """
    from models import fetch
    from models.cache import model_folder
    from models.coco import CocoSet
    from models.progress import bar
    from models.quantize import MOST_LOST, install, keep, quantized

    with bar() as progress:
        folder = fetch.pull(name, progress=progress)
        data = CocoSet.open(coco)
        twin = quantized(folder, calibrate, data, coco.resolve().name, progress, batch=batch)
    target = install(twin, folder, model_folder(twin.manifest.name))
    if write is not None:
        keep(twin, folder, write)
    out.print(
        f"{twin.manifest.name}: AP {twin.accuracy.ap:.4f} (float: {twin.base.ap:.4f}), "
        f"{twin.speedup:.2f} times as fast at one thread, "
        f"{len(twin.onnx) / 1e6:.1f} MB, in {target}",
        markup=False,
    )
    if twin.accuracy.ap < twin.base.ap - MOST_LOST or twin.speedup < 1:
        err.print(f"That is no good trade: keep {name}.")
