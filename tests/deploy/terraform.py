"""Running Terraform on copies of the modules, without a registry.

The AWS provider is looked for on this machine: in `TF_PLUGIN_DIR`, in the places where Terraform
itself looks, and below /opt, by the name that all providers' files have.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ROOT / "deploy" / "terraform"
MODULES: Final = ("network", "kms", "gateway", "artifacts", "observability")

_NAME = re.compile(r"terraform-provider-aws_v(\d+\.\d+\.\d+)(_x5)?")
_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PLATFORM: Final = f"{platform.system().lower()}_{_MACHINE}"


def find_program() -> str | None:
    """Where terraform is."""
    return shutil.which("terraform")


def find_provider() -> tuple[Path, str] | None:
    """The AWS provider's file on this machine and its version; the newest if there are several."""
    found = sorted(
        (tuple(map(int, match[1].split("."))), path, match[1])
        for path in _candidates()
        if (match := _NAME.fullmatch(path.name))
    )
    return (found[-1][1], found[-1][2]) if found else None


def _candidates() -> Iterator[Path]:
    home = Path.home()
    places = [
        *map(Path, filter(None, [os.environ.get("TF_PLUGIN_DIR")])),
        *map(Path, filter(None, [os.environ.get("TF_PLUGIN_CACHE_DIR")])),
        home / ".terraform.d",
        home / ".local/share/terraform",
        Path("/usr/local/share/terraform"),
        Path("/usr/share/terraform"),
        Path("/opt"),
    ]
    for place in places:
        yield from place.rglob("terraform-provider-aws_v*") if place.is_dir() else ()


def mirror(folder: Path, provider: Path, version: str) -> Path:
    """A plugin folder that holds nothing but the provider, as `terraform init` wants it."""
    place = folder / "registry.terraform.io" / "hashicorp" / "aws" / version / PLATFORM
    place.mkdir(parents=True)
    (place / provider.name).symlink_to(provider)
    return folder


@dataclass(frozen=True)
class Terraform:
    """Terraform in one folder.

    Attributes:
        program: Its path.
        folder: The module that it works on.
        plugins: A plugin folder, or None for modules without providers.
        extra: Further environment variables.
    """

    program: str
    folder: Path
    plugins: Path | None = None
    extra: tuple[tuple[str, str], ...] = ()

    def init(self) -> None:
        plugins = [f"-plugin-dir={self.plugins}"] if self.plugins else []
        self("init", "-input=false", "-backend=false", *plugins)

    def __call__(self, *arguments: str, code: int = 0, seconds: float = 110) -> str:
        """Run a command and give what it printed; another exit code than `code` is an error."""
        environment = {
            name: value
            for name, value in os.environ.items()
            # What is set on this machine for real work must not reach a test.
            if not name.startswith(("AWS_", "TF_"))
        }
        environment |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **dict(self.extra)}
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        with (self.folder / "terraform.log").open("a") as log:
            log.write(f"$ terraform {' '.join(arguments)}\n{done.stdout}\n")
        assert done.returncode == code, f"terraform {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout
