"""A photo with its objects drawn on, as a file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blindgate.cli.console import fail
from blindgate.cli.files import check_new, read_file, refuse_format
from blindgate.imaging import formats

if TYPE_CHECKING:
    from blindgate.detections import Detections

#: What a drawing may be saved as; the names are Pillow's.
_SUFFIXES: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_drawing(
    photo: Path,
    target: Path,
    *,
    inputs: Iterable[Path] = (),
    force: bool = False,
    make_folder: bool = False,
) -> None:
    """See that a photo can be drawn on, before its objects are known.

    Args:
        photo: The photo.
        target: Where the drawing will go; its suffix is the format.
        inputs: What else the command reads.
        force: Whether `target` may be replaced.
        make_folder: Whether its folder will be made.
    """
    if target.suffix.lower() not in _SUFFIXES and not target.is_dir():
        fail(f"{target} must end in {', '.join(_SUFFIXES)}", code=2)
    check_new(target, force=force, inputs=[photo, *inputs], make_folder=make_folder)
    content = read_file(photo)
    if formats.image_format(content) is None:
        refuse_format(content, photo)


def drawing(content: bytes, photo: Path, found: Detections, target: Path) -> bytes:
    """The drawing's file.

    Args:
        content: The photo.
        photo: Its name, for an error.
        found: Its objects.
        target: As for `check_drawing`.
    """
    from blindgate.annotate import annotate

    file = io.BytesIO()
    try:
        annotate(content, found).save(file, _SUFFIXES[target.suffix.lower()])
    # What Pillow raises for a photo that it cannot read, or that a format cannot hold, has no
    # common base.
    except Exception as error:  # noqa: BLE001
        fail(f"cannot draw on {photo}: {error}")
    return file.getvalue()
