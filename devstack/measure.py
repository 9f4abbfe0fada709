"""PCRs of a worker that runs as a process: computed from what its image would hold.

An enclave image is measured as PCR0 (everything), PCR1 (kernel and boot ramdisk) and PCR2 (the
application). A process has no kernel of its own, so PCR1 covers the interpreter and the locked
dependencies here, and PCR2 our code, the configuration, the CA bundle and the model. Change one
byte of any, and PCR0 changes and the key policy no longer fits: as in the real thing.

Source: "Where to find an enclave's measurements" in the AWS Nitro Enclaves user guide.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from enclave_image.closure import ROOT, import_closure
from enclave_image.pcrs import Measurements, extend

#: The worker's dependencies, by hash.
LOCK: Final = "locks/enclave.txt"


def measure(config_path: Path, root: Path = ROOT) -> Measurements:
    """Measure the worker as it would start from this configuration.

    Raises:
        KeyError: The configuration does not name the CA bundle or the model.
        OSError: A file that it names cannot be read.
    """
    settings = tomllib.loads(config_path.read_text())
    here = config_path.resolve().parent
    runtime = [("python", sys.version.encode()), _dependencies(root)]
    application = [
        (str(path.relative_to(root)), path.read_bytes())
        for path in import_closure(root=root).values()
    ]
    application += [("enclave.toml", config_path.read_bytes())]
    application += [("ca.pem", (here / settings["kms"]["ca_bundle"]).read_bytes())]
    application += [
        (f"{folder.name}/{path.name}", path.read_bytes())
        for folder in _model_folders(here / settings["model"]["folder"])
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]
    return Measurements(
        _pcr([*runtime, *application]),
        _pcr(runtime),
        _pcr(application),
    )


def _dependencies(root: Path) -> tuple[str, bytes]:
    return LOCK, (root / LOCK).read_bytes()


def _model_folders(folder: Path) -> list[Path]:
    """The model's folder, and that of the one it names for processors that cannot run it."""
    manifest = tomllib.loads((folder / "model.toml").read_text())
    otherwise = manifest.get("cpu", {}).get("otherwise")
    return [folder, *([folder.resolve().parent / otherwise] if otherwise else [])]


def _pcr(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A register that started at zero and was extended once with the digest of the files."""
    return extend(
        hashlib.sha384(part).digest() for name, data in files for part in (name.encode(), data)
    )
