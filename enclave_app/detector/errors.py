"""What the detector refuses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Final

from blindgate.detections import MAX_FAULTS
from blindgate.errors import BlindgateError

#: Labels that a suggestion is looked for among: comparing costs some 20 microseconds each.
_MOST_COMPARED: Final = 100


class UnknownClass(BlindgateError):
    """A request asks for classes that the model does not know.

    Args:
        model: The model's name.
        unknown: The labels that it does not know.
        known: Those that it does.

    Attributes:
        faults: `{"parameter", "message"}` for each, with a label that may have been meant.
    """

    def __init__(self, model: str, unknown: Sequence[str], known: Collection[str]) -> None:
        super().__init__(f"{model} knows no class {', '.join(unknown)}")
        self.faults = [
            {"parameter": "classes", "message": _message(label, known)}
            for label in unknown[:MAX_FAULTS]
        ]


def _message(label: str, known: Collection[str]) -> str:
    meant = _meant(label, known)
    advice = (
        f'did you mean "{meant}"?' if meant else f"GET /v1/models lists its {len(known)} classes"
    )
    return f'The model has no class "{label}": {advice}'


def _meant(label: str, known: Collection[str]) -> str | None:
    """The label that is most like another one; None if none is."""
    same_letter = [each for each in known if each[:1].casefold() == label[:1].casefold()]
    folded = {each.casefold(): each for each in same_letter[:_MOST_COMPARED]}
    (close,) = get_close_matches(label.casefold(), folded, n=1) or (None,)
    return folded[close] if close else None


class ModelError(BlindgateError):
    """A model's folder, manifest and ONNX file do not fit together; the message says how."""


class ManifestError(ModelError):
    """A manifest breaks a rule; the message names the field, the rule and the file."""
