"""`blindgate detect`: send an image or an envelope, show what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from blindgate import routes
from blindgate.cli.connection import (
    ApiKey,
    Config,
    Connection,
    Gateway,
    Token,
    TrustFiles,
    connection,
)
from blindgate.cli.console import emit_json, err, fail, out, table
from blindgate.cli.drawing import check_drawing, drawing
from blindgate.cli.files import Force, read_file, refuse_format, write_new
from blindgate.printable import printable

if TYPE_CHECKING:
    from blindgate.client import ProblemError
    from blindgate.detections import Detections, DetectOptions

#: Ends a file's name once it is encrypted, as in the AWS sample.
_SUFFIX: Final = ".encrypted"
#: The thresholds of the models that ship, for a hint; a test compares them with the manifests.
THRESHOLDS: Final = {
    "nanodet-m-416": 0.35,
    "ssd-mobilenet-v2-coco": 0.4,
    "ssd-mobilenet-v2-coco-int8": 0.4,
    "yolox-nano": 0.3,
}
#: Where most models still tell objects from noise.
_LOW_SCORE: Final = 0.2
_MAX_TILES: Final = 3


def detect(
    file: Annotated[
        Path,
        typer.Argument(help="A photo (JPEG, PNG, WebP), or what `blindgate encrypt` wrote."),
    ],
    gateway: Gateway = None,
    trust: TrustFiles = None,
    api_key: ApiKey = None,
    token: Token = None,
    config: Config = None,
    sealed: Annotated[
        bool | None,
        typer.Option(
            "--sealed/--open",
            help="Seal the request to the verified enclave, or let the gateway read the answer. "
            "A photo is always sealed; an envelope is, if it is known which enclaves to trust.",
            show_default=False,
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Draw the objects over the photo: .png, .jpg or .webp."),
    ] = None,
    force: Force = False,
    image: Annotated[
        Path | None,
        typer.Option(
            help="The photo to draw on, for an envelope.  [default: the name without .encrypted]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Leave out objects that score less.  [default: the model's threshold]",
        ),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, max=300, help="Give at most this many, best first.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Give only objects with these labels.")
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            min=1, max=_MAX_TILES, help="Analyse tiles of the photo, too: finds smaller objects."
        ),
    ] = None,
) -> None:
    """Find objects on a photo that only the enclave opens.

    Example: `blindgate detect holiday.jpg --gateway https://vision.example --trust pcrs.json`

    Example: `blindgate detect holiday.jpg.encrypted --gateway https://vision.example --json`
    """
    from blindgate.client import ProblemError
    from blindgate.client.request import options
    from blindgate.problems import IMAGE_REJECTED

    data = read_file(file)
    asked = connection(gateway=gateway, trust=trust, api_key=api_key, token=token, config=config)
    is_sealed = _choose(data, file, sealed, asked)
    asked.origin()
    chosen = options(min_score, max_detections, classes, tiles)
    drawn_on = image or _original(file, data) if annotate else None
    if annotate and drawn_on:
        check_drawing(drawn_on, annotate, inputs=[file], force=force)
    try:
        with err.status("asking the enclave"):
            found = (_ask_sealed if is_sealed else _ask_open)(data, asked, chosen)
    except ProblemError as problem:
        fail(_refusal(problem), _if_cut_off(data) if problem.type == IMAGE_REJECTED.type else None)
    if as_json:
        emit_json(found.model_dump_json(indent=2))
    else:
        _show(found)
    if not found.detections:
        err.print(_why_nothing(found, chosen), style="yellow")
    if annotate and drawn_on:
        drawn = drawing(read_file(drawn_on), drawn_on, found, annotate)
        write_new(annotate, drawn, force=force)
        err.print(f"drawn: {annotate}")


def _choose(data: bytes, file: Path, sealed: bool | None, asked: Connection) -> bool:
    """Whether to seal; a file that the enclave cannot open ends the command."""
    from blindgate.envelope.recognise import is_envelope
    from blindgate.imaging import formats

    if not data:
        fail(f"{file} is empty", code=2)
    if is_envelope(data):
        is_sealed = bool(asked.trust) if sealed is None else sealed
    elif formats.image_format(data) is None:
        refuse_format(data, file)
    elif sealed is False:
        fail(
            f"{file} is not encrypted, so the gateway would see it",
            f"Encrypt it first: blindgate encrypt {file} --key-id ALIAS",
            code=2,
        )
    else:
        is_sealed = True
    if is_sealed and not asked.trust:
        fail(
            "sealing needs to know which enclave to trust",
            "Give its measurements with --trust pcrs.json, or --trust development",
            code=2,
        )
    return is_sealed


def _ask_sealed(data: bytes, asked: Connection, options: DetectOptions) -> Detections:
    from blindgate.client import Blindgate

    with (
        asked.client() as http,
        Blindgate(asked.origin(), trust=asked.trust, http=http) as client,
    ):
        return client.detect(
            data,
            min_score=options.min_score,
            max_detections=options.max_detections,
            classes=options.classes,
            tiles=options.tiles,
        )


def _ask_open(data: bytes, asked: Connection, options: DetectOptions) -> Detections:
    from blindgate.client.httpx_bridge import append_chunk, translated_errors
    from blindgate.client.request import (
        GatewayResponse,
        parse_detections,
        target,
        unsealed_problem,
    )

    gateway = asked.origin()
    content = bytearray()
    with (
        translated_errors(gateway),
        asked.client() as http,
        http.stream(
            routes.DETECT.method,
            gateway.join(target(options)),
            content=data,
            headers={"content-type": routes.OCTETS, "accept": routes.JSON},
        ) as response,
    ):
        for chunk in response.iter_bytes():
            append_chunk(content, chunk)
    received = GatewayResponse(response.status_code, response.headers, bytes(content))
    return parse_detections(unsealed_problem(received), sealed_only=False)


def _refusal(problem: ProblemError) -> str:
    """A problem with what a person needs to find it in the operator's logs."""
    if problem.request_id is None:
        return str(problem)
    return f"{str(problem).rstrip('.')} (request {printable(problem.request_id)})"


def _if_cut_off(data: bytes) -> str | None:
    from blindgate.imaging.formats import is_cut_off

    return "Its end is missing: was its download or copy interrupted?" if is_cut_off(data) else None


def _show(found: Detections) -> None:
    count = len(found.detections)
    out.print(
        f"{count} object{'' if count == 1 else 's'} on {found.image.width} x {found.image.height} "
        "pixels",
        style="italic",
    )
    if not count:
        return
    shown = table("label", "score", "box (x, y to x, y)")
    shown.columns[0].style = "bold"
    for column in shown.columns[1:]:
        column.justify = "right"
    for each in found.detections:
        box = each.box
        place = f"{box.x_min:.0f}, {box.y_min:.0f} to {box.x_max:.0f}, {box.y_max:.0f}"
        shown.add_row(each.label, f"{each.score:.2f}", place)
    out.print(shown)


def _why_nothing(found: Detections, options: DetectOptions) -> str:
    """What was asked for, and what to try."""
    threshold = options.min_score
    if threshold is None:
        threshold = THRESHOLDS.get(found.model.name)
    least = f"{threshold:.2f} or more" if threshold is not None else "as much as its threshold"
    of = f" of the labels {', '.join(options.classes)}" if options.classes else ""
    to_try = []
    if threshold is None or threshold > _LOW_SCORE:
        to_try.append(f"--min-score {_LOW_SCORE}")
    if (options.tiles or 1) < _MAX_TILES:
        to_try.append(f"--tiles {(options.tiles or 1) + 1} for small objects")
    if options.classes:
        to_try.append("no --classes")
    hint = f" Try {' or '.join(to_try)}." if to_try else ""
    return f"Nothing{of} scored {least} with {found.model.name}.{hint}"


def _original(file: Path, data: bytes) -> Path:
    """The photo of a file: itself, or what it was encrypted from."""
    from blindgate.imaging import formats

    if formats.image_format(data):
        return file
    original = file.with_suffix("") if file.suffix == _SUFFIX else None
    if original is None or not original.is_file():
        named = f"no {original}" if original else f"no photo beside {file}"
        fail(f"there is {named} to draw on", "Name the photo with --image PHOTO", code=2)
    return original
