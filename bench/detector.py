"""How accurate and how fast the detectors are, and how fast pictures are decoded.

`python -m bench.detector --coco DIR` prints the tables of `docs/models.md`; with
`--write docs/models.md` it puts them there, between the marks of each table. `--brought DIR`
names a folder with the example models that no registry has, `--photo FILE` a large photo.
"""

from __future__ import annotations

import argparse
import io
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from blindgate.detections import Box, Detection, Detections, DetectOptions, ImageSize, ModelRef
from blindgate.imaging.decode import decode, inspect
from blindgate.imaging.limits import ImageLimits
from enclave_app.detector import Detector
from enclave_app.detector.labels import COCO_91
from enclave_app.detector.preprocess import prepare
from models.coco import Accuracy, CocoSet, evaluate
from models.fetch import pull
from models.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.coco import Finder
    from models.progress import Progress

FLOAT, INTEGER = "ssd-mobilenet-v2-coco", "ssd-mobilenet-v2-coco-int8"
BROUGHT = {"yolox-nano": "yolox_nano.onnx", "nanodet-m-416": "nanodet_m_416.onnx"}
ROUNDS = 15
#: Twelve megapixels, as a phone takes them.
LARGE = (4000, 3000)


def plain_loop(folder: Path) -> Finder:
    """The float default without any of the product's code: open, stretch, run, read."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)

    def find(image: bytes, options: DetectOptions) -> Detections:
        with Image.open(io.BytesIO(image)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        small = picture.resize((300, 300), Image.Resampling.BILINEAR)
        wanted = ["boxes", "scores", "classes"]
        boxes, scores, classes = session.run(wanted, {"image": np.asarray(small)[None]})
        order = np.argsort(-scores, kind="stable")[: options.max_detections]
        sides = np.array([picture.height, picture.width] * 2)
        rows = []
        for box, score, number in zip(boxes[order], scores[order], classes[order], strict=True):
            top, left, bottom, right = np.clip(box, 0, 1) * sides
            place = Box(x_min=left, y_min=top, x_max=right, y_max=bottom)
            label = COCO_91[int(number)]
            if label:
                rows.append(
                    Detection(label=label, class_id=int(number), score=float(score), box=place)
                )
        return Detections(
            model=ModelRef(name="plain loop", version="1"),
            image=ImageSize(width=picture.width, height=picture.height),
            detections=tuple(rows),
        )

    return find


def accuracy_table(data: CocoSet, brought: Path | None, progress: Progress) -> str:
    """COCO's figures for every model and number of tiles."""
    float_folder, integer_folder = pull(FLOAT, progress=progress), pull(INTEGER, progress=progress)
    whole, integer = Detector.load(float_folder), Detector.load(integer_folder)
    rows: list[tuple[str, Finder, int]] = [
        (f"{FLOAT}, a plain loop around its ONNX file", plain_loop(float_folder), 1),
        (FLOAT, whole.detect, 1),
        (f"{FLOAT}, `tiles=2`", whole.detect, 2),
        (f"**{INTEGER}** (default)", integer.detect, 1),
        (f"**{INTEGER}**, `tiles=2`", integer.detect, 2),
        (f"**{INTEGER}**, `tiles=3`", integer.detect, 3),
    ]
    for name, file in BROUGHT.items():
        if brought is not None and (brought / file).is_file():
            detector = Detector.load(pull(name, brought=brought / file))
            rows.append((f"{name} (brought)", detector.detect, 1))
    lines = [
        "| model | AP | AP50 | AP75 | small | medium | large |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, find, tiles in rows:
        progress(f"measuring {title}", 0, 1)
        found = evaluate(find, data, tiles=tiles)
        progress(f"measuring {title}", 1, 1)
        lines.append(f"| {title} | {_figures(found)} |")
    return "\n".join([*lines, "", f"{len(data.pictures)} annotated pictures."])


def _figures(found: Accuracy) -> str:
    values = (found.ap, found.ap_50, found.ap_75, found.small, found.medium, found.large)
    return " | ".join(f"{value:.3f}" for value in values)


def speed_table(brought: Path | None, progress: Progress) -> str:
    """Time of one pass, and passes a second from two threads, taking turns."""
    names = [FLOAT, INTEGER]
    files = {name: brought / file for name, file in BROUGHT.items()} if brought else {}
    names += [name for name, file in files.items() if file.is_file()]
    detectors = {name: Detector.load(pull(name, brought=files.get(name))) for name in names}
    single: dict[str, list[float]] = {name: [] for name in names}
    double: dict[str, list[float]] = {name: [] for name in names}
    with ThreadPoolExecutor(2) as pool:
        for done in range(ROUNDS):
            progress("timing the networks", done, ROUNDS)
            for name, detector in detectors.items():
                single[name].append(_timed(partial(_pass, detector)))
                start = time.perf_counter()
                list(pool.map(_pass, [detector] * 8))
                double[name].append(8 / (time.perf_counter() - start))
    progress("timing the networks", ROUNDS, ROUNDS)
    lines = ["| model | MB | ms a pass, 1 thread | passes/s, 2 threads |", "|---|---|---|---|"]
    for name in names:
        size = (pull(name) / "model.onnx").stat().st_size / 1e6
        lines.append(
            f"| {name} | {size:.1f} | {min(single[name]) * 1e3:.1f} | {max(double[name]):.0f} |"
        )
    ratio = min(single[FLOAT]) / min(single[INTEGER])
    both = max(double[INTEGER]) / max(double[FLOAT])
    said = f"int8 over float: {ratio:.2f}x at one thread, {both:.2f}x the throughput at two."
    return "\n".join([*lines, "", said])


def _pass(detector: Detector) -> None:
    wanted = detector.manifest.input
    detector.run_network(np.full((wanted.height, wanted.width, 3), 127, np.uint8))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def decoding_table(data: CocoSet, photo: Path | None, progress: Progress) -> str:
    """From a 12-megapixel file to the network's input: plain Pillow, and ours."""
    detector = Detector.load(pull(INTEGER))
    small = next(iter(sorted(data.pictures.values())))
    files = {}
    if photo is not None:
        files[f"{photo.name} as it is"] = photo.read_bytes()
    with Image.open(photo or small) as opened:
        large = opened.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
    for name, options in (("baseline", {}), ("progressive", {"progressive": True})):
        files[f"4000 x 3000, {name}, quality 90"] = _jpeg(large, **options)
    lines = ["| JPEG file | MB | plain Pillow, ms | ours, ms | ratio |", "|---|---|---|---|---|"]
    for done, (name, file) in enumerate(files.items()):
        progress("timing the decoding", done, len(files))
        plain, ours = [], []
        for _ in range(9):
            plain.append(_timed(partial(_plain_input, file)))
            ours.append(_timed(partial(_our_input, detector, file)))
        ratio = min(plain) / min(ours)
        lines.append(
            f"| {name} | {len(file) / 1e6:.1f} | {min(plain) * 1e3:.0f} | {min(ours) * 1e3:.0f} "
            f"| {ratio:.1f} |"
        )
    progress("timing the decoding", len(files), len(files))
    return "\n".join(lines)


def reduction_table(data: CocoSet, progress: Progress) -> str:
    """AP when every picture comes with 12 megapixels, decoded whole and decoded reduced."""
    detector = Detector.load(pull(INTEGER))
    by_content: dict[bytes, tuple[bytes, float]] = {}
    for done, path in enumerate(data.pictures.values()):
        progress("enlarging the pictures", done, len(data.pictures))
        with Image.open(path) as opened:
            factor = (LARGE[0] * LARGE[1] / (opened.width * opened.height)) ** 0.5
            size = round(opened.width * factor), round(opened.height * factor)
            picture = opened.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        by_content[path.read_bytes()] = _jpeg(picture), factor
    progress("enlarging the pictures", len(data.pictures), len(data.pictures))

    def through(*, reduce: bool) -> Finder:
        def find(image: bytes, options: DetectOptions) -> Detections:
            file, factor = by_content[image]
            whole = (10**6, 10**6)
            picture = (
                detector.decode(file, options)
                if reduce
                else decode(inspect(file, ImageLimits()), whole)
            )
            return _shrunk(detector.infer(picture, options), factor)

        return find

    lines = ["| pictures of 12 megapixels | AP | AP50 |", "|---|---|---|"]
    for title, reduce in (("decoded whole", False), ("decoded as the detector does", True)):
        found = evaluate(through(reduce=reduce), data)
        lines.append(f"| {title} | {found.ap:.4f} | {found.ap_50:.4f} |")
    return "\n".join(lines)


def _shrunk(found: Detections, factor: float) -> Detections:
    """The same boxes on the picture that the annotations are for."""
    return found.model_copy(
        update={
            "detections": tuple(
                one.model_copy(
                    update={
                        "box": Box(
                            **{side: value / factor for side, value in one.box.model_dump().items()}
                        )
                    }
                )
                for one in found.detections
            )
        }
    )


def _jpeg(image: Image.Image, **options: bool) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def _plain_input(file: bytes) -> None:
    with Image.open(io.BytesIO(file)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    np.asarray(picture.resize((300, 300), Image.Resampling.BILINEAR))


def _our_input(detector: Detector, file: bytes) -> None:
    picture = detector.decode(file)
    prepare(picture, (0, 0, picture.width, picture.height), detector.manifest.input)


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    name = re.search(r"model name\s*:\s*(.+)", text)
    cores = len(re.findall(r"(?m)^processor", text))
    return (
        f"{name[1] if name else platform.machine()}, {cores} cores, onnxruntime "
        f"{onnxruntime.__version__}, Python {platform.python_version()}."
    )


def write(path: Path, tables: dict[str, str]) -> None:
    """Put each table between its marks in a document."""
    text = path.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{path} has no place for the table {name!r}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    path.write_text(text)


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description="Measure the detectors.")
    parser.add_argument("--coco", type=Path, required=True, help="annotated pictures")
    parser.add_argument("--brought", type=Path, help="folder with the example ONNX files")
    parser.add_argument("--photo", type=Path, help="a large JPEG photo")
    parser.add_argument("--write", type=Path, help="document to put the tables into")
    given = parser.parse_args()
    data = CocoSet.open(given.coco)
    with bar() as progress:
        tables = {
            "accuracy": accuracy_table(data, given.brought, progress),
            "speed": speed_table(given.brought, progress) + " " + _machine(),
            "decoding": decoding_table(data, given.photo, progress),
            "reduction": reduction_table(data, progress),
        }
    for table in tables.values():
        print(table, end="\n\n")
    if given.write:
        write(given.write, tables)


if __name__ == "__main__":
    main()
