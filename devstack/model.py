"""Obtaining the detector that the dev stack runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from blindgate.errors import BlindgateError


class NoModel(BlindgateError):
    """The model could not be obtained; without a message if that was printed."""


def obtain(name: str = "") -> Path:
    """The folder of a model, which is pulled first if it is not there yet.

    Args:
        name: A model's name, or a folder that holds model.toml and model.onnx; the default
            model if empty.

    Raises:
        NoModel: It cannot be had; why was printed.
    """
    if name and (Path(name) / "model.toml").is_file():
        return Path(name).absolute()
    if "/" in name or Path(name or "absent").is_dir():
        raise NoModel(f"{name} is not the folder of a model: it has no model.toml")
    # The model tools are a program of their own here: what they import is no part of the stack.
    command = [sys.executable, "-m", "blindgate", "models", "pull", *([name] if name else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise NoModel  # that program has said why
    return Path(done.stdout.strip().splitlines()[-1])
