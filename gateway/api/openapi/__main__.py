"""Writes `docs/openapi.json`: `python -m gateway.api.openapi --write docs/openapi.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blindgate.link import FrameLimits
from gateway.app import create_app
from gateway.pool import Pool, SocketBackend, Verified
from gateway.settings import Settings


def document() -> str:
    """The OpenAPI document as it is kept in the repository."""

    def nobody(_document: bytes, _nonce: bytes) -> Verified:
        raise ValueError("no enclave is asked for the sake of a document")

    pool = Pool(SocketBackend(1.0, FrameLimits(0)), nobody)
    # What the environment of whoever writes the document says must not be in it.
    settings = Settings.model_construct(**_defaults())
    openapi: Callable[[], dict[str, Any]] = create_app(settings, pool=pool).openapi
    return json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"


def _defaults() -> dict[str, Any]:
    return {name: field.get_default() for name, field in Settings.model_fields.items()}


def main(arguments: list[str] | None = None) -> None:
    """Write the document to a file, or show it."""
    parser = argparse.ArgumentParser(prog="python -m gateway.api.openapi")
    parser.add_argument("--write", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        chosen.write.write_text(document(), encoding="utf-8")
    else:
        print(document(), end="")


if __name__ == "__main__":
    main()
