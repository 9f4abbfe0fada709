"""From locked inputs to an enclave image, the same bytes for everybody."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path, PurePosixPath
from typing import Any, Final

from blindgate import strict_toml
from blindgate.cache import cache_folder
from enclave_image import layers, manifest, wheels
from enclave_image.architecture import ARM64, X86_64, Architecture, of_this_machine
from enclave_image.closure import ROOT, import_closure
from enclave_image.cpio import Entry, file
from enclave_image.debian import fetch, lock
from enclave_image.debian.lock import Lock, Package
from enclave_image.debian.mirrors import Mirrors
from enclave_image.eif import Image, Section, SectionType, write
from enclave_image.errors import ImageError
from enclave_image.kernel.choice import ChosenKernel, given_kernel, own_kernel
from enclave_image.kernel.source import kernel_lock
from enclave_image.pcrs import Measurements, measure
from enclave_image.requirements import Requirements, kms_of, limits_of, require
from enclave_image.sbom import sbom
from enclave_image.toolchain import Toolchain
from enclave_image.wheels import Wheel

PYTHON_LOCK: Final = ROOT / "locks" / "enclave.txt"
_MIB: Final = 1024 * 1024
#: What the enclave itself reads of a manifest; its configuration is smaller.
_MAX_TOML: Final = 256 * 1024
#: What the kernel, and with it an idle interpreter, take besides their files. Seen
#: in the emulated enclave, rounded up.
_KERNEL_BYTES: Final = 128 * _MIB
_IDLE_BYTES: Final = 224 * _MIB
#: onnxruntime holds a model's file, its parsed form and the packed weights while it loads it.
_MODEL_COPIES: Final = 5
#: Seen: downloads 0.3 GB, unpacked packages and layers 0.5 GB, an image of 0.15 GB.
_NEEDED_GB: Final = 1
_KERNEL_SOURCE: Final = "linux-source-"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made from, besides the locks and our code.

    Attributes:
        config: The measured configuration.
        model: A folder with model.toml and model.onnx.
        kernel: Another kernel than our own.
        kernel_config: Its `.config`, if it does not contain it.
        modules: That kernel's signed modules, in the order of inserting.
        command_line: The kernel's; default ours.
        architecture: Of the enclave; any machine builds for both.
    """

    config: Path
    model: Path
    kernel: Path | None = None
    kernel_config: Path | None = None
    modules: tuple[Path, ...] = ()
    command_line: str | None = None
    architecture: Architecture = X86_64


@dataclass(frozen=True, slots=True)
class Built:
    """An image and what there is to say about it.

    Attributes:
        eif: The file.
        measurements: PCR0, PCR1 and PCR2.
        sbom: CycloneDX JSON.
        unpacked: Bytes of all its files, which stay in memory.
        boot_memory: Bytes that the enclave needs to start: ramdisks are in memory twice while they
            are unpacked, and the model several times while it is loaded.
        requirements: What a parent instance must give its enclave.
    """

    eif: bytes
    measurements: Measurements
    sbom: str
    unpacked: int
    boot_memory: int
    requirements: Requirements


def build(
    recipe: Recipe,
    *,
    mirrors: Mirrors | None = None,
    cache: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Built:
    """Build an image.

    Args:
        recipe: What it is made from.
        mirrors: Where Debian's packages are fetched from.
        cache: Default: `cache_folder()`.
        said: Told of each step.

    Raises:
        ImageError: An input is missing, damaged, or does not fit the others, or the disk is full.
    """
    try:
        return _build(recipe, mirrors, cache, said)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ImageError(
            f"no space left in {cache or cache_folder()} or {tempfile.gettempdir()}: building an "
            f"image takes {_NEEDED_GB} GB; free some, or set BLINDGATE_CACHE and TMPDIR to folders "
            "on another disk"
        ) from None


def _build(
    recipe: Recipe, mirrors: Mirrors | None, cache: Path | None, said: Callable[[str], None]
) -> Built:
    measured = measured_files(recipe)
    settings = strict_toml.decode(_bytes(recipe.config), max_bytes=_MAX_TOML)
    limits, kms = limits_of(settings), kms_of(settings)
    kernel = _kernel(recipe, mirrors=mirrors, cache=cache, on_progress=said)
    said("fetching locked packages")
    inputs = _fetch(recipe.architecture, mirrors=mirrors, cache=cache, said=said)
    native = inputs
    if (machine := of_this_machine()) is not recipe.architecture:
        native = _fetch(machine, mirrors=mirrors, cache=cache, said=said)
    toolchain = Toolchain.unpack(native.paths, machine, cache=cache)
    said("boot ramdisk")
    boot = layers.boot(toolchain, kernel.modules)
    said("runtime ramdisk")
    runtime = inputs.runtime(toolchain, cache)
    said("application ramdisk")
    with tempfile.TemporaryDirectory(prefix="blindgate-image-") as folder:
        # What runs here can only be tried with the libraries of this machine's architecture.
        tree = runtime.tree if native is inputs else native.runtime(toolchain, cache).tree
        application = layers.application(toolchain, tree, measured, Path(folder))
    ramdisks = [boot, runtime.layer, application]
    time = _time(inputs.lock)
    image = Image(
        (
            Section(SectionType.KERNEL, kernel.image),
            Section(SectionType.COMMAND_LINE, kernel.command_line.encode()),
            *(Section(SectionType.RAMDISK, each.ramdisk) for each in ramdisks),
            Section(SectionType.METADATA, _metadata(kernel.version, time)),
        ),
        arm64=recipe.architecture is ARM64,
    )
    measurements = measure(image)
    sources = set(runtime.layer.sources)
    kernel_source = () if recipe.kernel else _kernel_source()
    ingredients = sbom(
        measurements,
        time=time,
        version=version_of("blindgate"),
        packages=[
            *(each for each in inputs.lock.packages if each.name in sources),
            *kernel_source,
        ],
        wheels=[each for each in inputs.wheels if each.name in sources],
        architecture=recipe.architecture.debian,
        files=_own_files(recipe, kernel.image, measured),
    )
    unpacked = sum(each.unpacked for each in ramdisks)
    compressed = sum(len(each.ramdisk) for each in ramdisks)
    model = max(len(entry.data) for entry in measured.values())
    memory = unpacked + max(compressed + _KERNEL_BYTES, _IDLE_BYTES + _MODEL_COPIES * model)
    eif = write(image)
    requirements = require(
        eif,
        measurements.by_name,
        recipe.architecture,
        limits,
        kms,
        resident=unpacked + _KERNEL_BYTES,
        boot_memory=memory,
    )
    return Built(eif, measurements, ingredients, unpacked, memory, requirements)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The locked inputs of one architecture, on disk."""

    architecture: Architecture
    lock: Lock
    paths: dict[str, Path]
    wheels: list[Wheel]

    def runtime(self, toolchain: Toolchain, cache: Path | None) -> layers.Runtime:
        """The second ramdisk for this architecture."""
        return layers.runtime(toolchain, self.paths, self.wheels, self.architecture, cache=cache)


def debian_lock(architecture: Architecture) -> Path:
    """The lock of the Debian packages that an image is made from."""
    return ROOT / "locks" / f"debian-enclave{architecture.suffix}.toml"


def _fetch(
    architecture: Architecture,
    *,
    mirrors: Mirrors | None,
    cache: Path | None,
    said: Callable[[str], None],
) -> _Inputs:
    debian = lock.read(debian_lock(architecture))
    paths = fetch.fetch(debian, mirrors=mirrors, cache=cache, said=said)
    locked = wheels.download(_text(PYTHON_LOCK), architecture, cache=cache, said=said)
    return _Inputs(architecture, debian, paths, locked)


def measured_files(recipe: Recipe) -> dict[str, Entry]:
    """The configuration, and beside it what it names, by path in the image.

    Raises:
        ImageError: It cannot be read, or names a file by a path that is not below its own folder.
    """
    text = _bytes(recipe.config)
    try:
        settings = strict_toml.decode(text, max_bytes=_MAX_TOML)
        bundle, folder = str(settings["kms"]["ca_bundle"]), str(settings["model"]["folder"])
    except (strict_toml.TomlError, KeyError, TypeError) as error:
        raise ImageError(
            f"{recipe.config} does not name kms.ca_bundle and model.folder: {error}"
        ) from None
    found = {f"{manifest.CONFIG}/enclave.toml": file(text)}
    found[_inside(bundle)] = file(_bytes(recipe.config.parent / bundle))
    for name, place in _model_folders(recipe.model, folder):
        for path in sorted(place.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                found[_inside(f"{name}/{path.name}")] = file(_bytes(path))
    return found


def _model_folders(model: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The model's folder, and that of the model that serves where the processor lacks something.

    Args:
        model: The folder.
        name: What the configuration calls it; the other is beside it, under its own name.

    Raises:
        ImageError: One has no manifest.
    """
    try:
        manifest = strict_toml.decode(_bytes(model / "model.toml"), max_bytes=_MAX_TOML)
        other = manifest.get("cpu", {}).get("otherwise")
    except (strict_toml.TomlError, AttributeError) as error:
        raise ImageError(f"{model / 'model.toml'} is no manifest: {error}") from None
    yield name, model
    if other is not None:
        beside = model.resolve().parent / str(other)
        if not (beside / "model.toml").is_file():
            raise ImageError(f"{model.name} names {other} for other processors; {beside} is none")
        yield f"{PurePosixPath(name).parent}/{other}", beside


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ImageError(
            f"the configuration names {name}; in an image it must be a path below its own folder"
        )
    return str(PurePosixPath(manifest.CONFIG) / path)


def _kernel(
    recipe: Recipe,
    *,
    mirrors: Mirrors | None,
    cache: Path | None,
    on_progress: Callable[[str], None],
) -> ChosenKernel:
    if recipe.kernel is None:
        return own_kernel(
            recipe.architecture.name,
            line=recipe.command_line,
            mirrors=mirrors,
            cache=cache,
            on_progress=on_progress,
        )
    config = recipe.kernel_config or recipe.kernel.with_name(f"{recipe.kernel.name}.config")
    named = recipe.kernel_config is not None or config.is_file()
    return given_kernel(
        _bytes(recipe.kernel),
        architecture=recipe.architecture.name,
        config=_text(config) if named else None,
        line=recipe.command_line,
        modules={path.name: _bytes(path) for path in recipe.modules},
    )


def _kernel_source() -> list[Package]:
    return [
        each for each in lock.read(kernel_lock()).packages if each.name.startswith(_KERNEL_SOURCE)
    ]


def _own_files(recipe: Recipe, kernel: bytes, measured: Mapping[str, Entry]) -> dict[str, bytes]:
    found = {path: entry.data for path, entry in measured.items()}
    for entry in layers.ENTRIES:
        for path in import_closure(entry).values():
            found[f"{manifest.APPLICATION}/{path.relative_to(ROOT)}"] = path.read_bytes()
    found["init"] = layers.INIT.read_bytes()
    if recipe.kernel:
        found["kernel"] = kernel
    return found


def _metadata(kernel: str, time: str) -> bytes:
    """The section that nitro-cli shows; unmeasured, and without anything that differs."""
    values: dict[str, Any] = {
        "ImageName": "blindgate",
        "ImageVersion": version_of("blindgate"),
        "BuildMetadata": {
            "BuildTime": time,
            "BuildTool": "blindgate",
            "BuildToolVersion": version_of("blindgate"),
            "OperatingSystem": "Linux",
            "KernelVersion": kernel,
        },
        "DockerInfo": {},
        "CustomMetadata": {},
    }
    return json.dumps(values).encode()


def _time(debian: Lock) -> str:
    return datetime.strptime(debian.snapshot, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError:
        raise ImageError(f"{path} is not text") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None
