"""`blindgate detect`: send an image or an envelope, show what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from blindgate.cli.console import err, fail, out

if TYPE_CHECKING:
    import httpx

    from blindgate.client import TrustLike
    from blindgate.detections import Detections, DetectOptions

#: Ends a file's name once it is encrypted, as in the AWS sample.
_SUFFIX = ".encrypted"


def detect(
    file: Annotated[
        Path,
        typer.Argument(
            help="A photo (JPEG, PNG, WebP), or what `blindgate encrypt` wrote.",
            exists=True,
            dir_okay=False,
        ),
    ],
    gateway: Annotated[str, typer.Option(metavar="URL", help="The gateway's base URL.")],
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Measurements (PCRs) of an enclave image that you trust, once for each; or "
            "`development` for the stack of `blindgate dev up`.",
        ),
    ] = None,
    sealed: Annotated[
        bool | None,
        typer.Option(
            "--sealed/--open",
            help="Seal the request to the verified enclave, or let the gateway read the answer. "
            "A photo is always sealed; an envelope is, if --trust is given.",
            show_default=False,
        ),
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the objects over the photo.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="The photo to draw on, for an envelope.  [default: the name without .encrypted]",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out objects that score less.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, max=300, help="Give at most this many, best first.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Give only objects with these labels.")
    ] = None,
    tiles: Annotated[
        int | None, typer.Option(min=1, max=3, help="Look at tiles too: finds smaller objects.")
    ] = None,
) -> None:
    """Find objects on a photo that only the enclave opens.

    Example: `blindgate detect holiday.jpg --gateway https://vision.example --trust pcrs.json`

    Example: `blindgate detect holiday.jpg.encrypted --gateway https://vision.example --json`
    """
    from blindgate.detections import DetectOptions

    data = file.read_bytes()
    is_sealed = _choose(data, file, sealed, trust)
    options = DetectOptions(
        min_score=min_score,
        max_detections=max_detections,
        classes=tuple(classes.split(",")) if classes else None,
        tiles=tiles,
    )
    with err.status("asking the enclave"):
        if is_sealed:
            found = _ask_sealed(data, gateway, trust or [], options)
        else:
            found = _ask_open(data, gateway, options)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _show(found)
    if annotate:
        _draw(found, image or _original(file), annotate)


def _choose(data: bytes, file: Path, sealed: bool | None, trust: list[str] | None) -> bool:
    from blindgate.envelope.recognise import is_envelope

    if is_envelope(data):
        is_sealed = bool(trust) if sealed is None else sealed
    elif sealed is False:
        fail(
            f"{file} is not encrypted, so the gateway would see it",
            f"Encrypt it first: blindgate encrypt {file} --key-id ALIAS",
            code=2,
        )
    else:
        is_sealed = True
    if is_sealed and not trust:
        fail(
            "sealing needs to know which enclave to trust",
            "Give its measurements with --trust pcrs.json, or --trust development",
            code=2,
        )
    return is_sealed


def _ask_sealed(data: bytes, gateway: str, trust: list[str], options: DetectOptions) -> Detections:
    from blindgate.client import Blindgate

    chosen: TrustLike = trust[0] if len(trust) == 1 else trust
    with Blindgate(gateway, trust=chosen) as client:
        return client.detect(
            data,
            min_score=options.min_score,
            max_detections=options.max_detections,
            classes=options.classes,
            tiles=options.tiles,
        )


def _ask_open(data: bytes, gateway: str, options: DetectOptions) -> Detections:
    import httpx

    from blindgate.detections import Detections

    try:
        answer = httpx.post(
            f"{gateway.rstrip('/')}/v1/detections",
            params=dict(options.to_query()),
            content=data,
            headers={"content-type": "application/octet-stream"},
            timeout=60,
        )
    except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        fail(f"no answer from {gateway}: {error}", "Is the gateway running, and is the URL right?")
    if answer.status_code != 200:
        _refused(answer)
    return Detections.model_validate_json(answer.content)


def _refused(answer: httpx.Response) -> NoReturn:
    try:
        problem = answer.json()
        fail(f"{problem['title']} ({answer.status_code})", str(problem.get("detail", "")))
    except (ValueError, KeyError, TypeError):
        fail(f"the gateway answered with status {answer.status_code} and no problem document")


def _show(found: Detections) -> None:
    from rich.table import Table

    size = f"{found.image.width} x {found.image.height} pixels"
    table = Table(title=f"{len(found.detections)} objects on {size}", title_justify="left")
    table.add_column("label", style="bold")
    table.add_column("score", justify="right")
    table.add_column("box (x, y to x, y)", justify="right")
    for each in found.detections:
        box = each.box
        place = f"{box.x_min:.0f}, {box.y_min:.0f} to {box.x_max:.0f}, {box.y_max:.0f}"
        table.add_row(each.label, f"{each.score:.2f}", place)
    out.print(table)


def _original(file: Path) -> Path:
    if file.suffix != _SUFFIX:
        return file
    original = file.with_suffix("")
    if not original.is_file():
        fail(f"there is no {original} to draw on", "Name the photo with --image PHOTO", code=2)
    return original


def _draw(found: Detections, photo: Path, target: Path) -> None:
    from blindgate.annotate import annotate

    annotate(photo.read_bytes(), found).save(target)
    err.print(f"drawn: {target}", markup=False)
