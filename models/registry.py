"""The models whose manifests are part of the repository: one folder each, next to this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blindgate.cache import cache_folder
from enclave_app.detector.manifest import MANIFEST_FILE, read_manifest
from models.cache import model_folder
from models.errors import UnknownModelError

if TYPE_CHECKING:
    from enclave_app.detector.manifest import Manifest

SHIPPED: Final = Path(__file__).resolve().parent
#: The default of the demo and the enclave image. For processors on which it would be wrong or slow,
#: its manifest names the float model, which is pulled with it.
DEFAULT: Final = "ssd-mobilenet-v2-coco-int8"


@dataclass(frozen=True)
class ModelSource:
    """A model by its manifest."""

    folder: Path
    manifest: Manifest
    #: SHA-256 of the manifest, as attestation binds it.
    digest: bytes
    #: Whether it ships with Blindgate, or lies in the cache only.
    shipped: bool

    @property
    def name(self) -> str:
        """The model's name, which is its folder's too."""
        return self.manifest.name


def names() -> list[str]:
    """The names of the models that ship, sorted."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST_FILE}"))


def added(cache: Path | None = None) -> list[str]:
    """The names of models that only the cache has: a user's own, and quantized ones."""
    found = ((cache or cache_folder()) / "models").glob(f"[!.]*/{MANIFEST_FILE}")
    return sorted({path.parent.name for path in found} - set(names()))


def find(name: str, cache: Path | None = None) -> ModelSource:
    """Find a model by name: one that ships, or one that the cache has.

    Raises:
        UnknownModelError: There is none.
        ManifestError: Its manifest breaks a rule.
    """
    shipped = name in names()
    if not shipped and name not in added(cache):
        known = ", ".join([*names(), *added(cache)])
        raise UnknownModelError(f"no model {name!r}; there are {known}")
    folder = SHIPPED / name if shipped else model_folder(name, cache)
    read = read_manifest(folder / MANIFEST_FILE)
    if read.manifest.name != name:
        raise UnknownModelError(f"the folder {name} holds the manifest of {read.manifest.name}")
    return ModelSource(folder, read.manifest, read.digest, shipped)
