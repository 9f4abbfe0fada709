"""The protocol's paths, for who has no router: the worker, inside a sealed request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

#: `/v2/models/M/versions/V/infer` has seven; what has more is none of the protocol's paths.
_MOST_PARTS: Final = 8

Verb = Literal["server", "live", "ready", "model", "model-ready", "infer"]
_SERVER: Final[dict[tuple[str, ...], Verb]] = {
    (): "server",
    ("health", "live"): "live",
    ("health", "ready"): "ready",
}
_MODEL: Final[dict[tuple[str, ...], Verb]] = {
    (): "model",
    ("ready",): "model-ready",
    ("infer",): "infer",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names.

    Attributes:
        verb: What is asked.
        model: Of which model; None where it is the server.
        version: Of which version of it; None for any.
    """

    verb: Verb
    model: str | None = None
    version: str | None = None

    @property
    def method(self) -> str:
        """The HTTP method that it takes."""
        return "POST" if self.verb == "infer" else "GET"


def is_protocol_path(path: str) -> bool:
    """Whether a path belongs to the protocol, whatever it names."""
    return path == "/v2" or path.startswith("/v2/")


def parse_path(path: str) -> Target | None:
    """What a path without its query names, or None if it is none of the protocol's."""
    root, *parts = (unquote(part) for part in path.split("/", _MOST_PARTS))
    if root or parts[:1] != ["v2"]:
        return None
    rest = parts[1:]
    if verb := _SERVER.get(tuple(rest)):
        return Target(verb)
    if len(rest) < 2 or rest[0] != "models" or not rest[1]:
        return None
    model, tail, version = rest[1], rest[2:], None
    if len(tail) >= 2 and tail[0] == "versions" and tail[1]:
        version, tail = tail[1], tail[2:]
    verb = _MODEL.get(tuple(tail))
    return Target(verb, model, version) if verb else None
