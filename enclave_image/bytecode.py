"""Turns a tree of Python sources into bytecode; run by the enclave's own interpreter.

    python3.13 -m enclave_image.bytecode FOLDER PREFIX

It needs the standard library alone.
"""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path


def compile_tree(folder: Path, prefix: str) -> None:
    """Write `x.pyc` for each `x.py` below a folder, and remove the latter.

    Bytecode carries no time and no digest of its source: nothing will compare them.

    Args:
        folder: What to compile.
        prefix: What code objects say instead of the folder's path.
    """
    for source in sorted(folder.rglob("*.py")):
        py_compile.compile(
            str(source),
            cfile=str(source.with_suffix(".pyc")),
            dfile=f"{prefix}/{source.relative_to(folder)}",
            doraise=True,
            optimize=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        source.unlink()


if __name__ == "__main__":
    compile_tree(Path(sys.argv[1]), sys.argv[2])
