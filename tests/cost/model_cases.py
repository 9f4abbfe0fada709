"""Model manifests and other TOML: read when a model is added, and by the worker at its start."""

from __future__ import annotations

from enclave_app.detector.errors import ManifestError
from enclave_app.detector.manifest import MAX_MANIFEST_BYTES, parse_manifest
from tests.cost.harness import Case
from tests.cost.hostile import Make, nested, repeated

#: Within the limit of a manifest, twice.
_MANIFEST = MAX_MANIFEST_BYTES // 2 - 200


def _numbered(piece: bytes) -> Make:
    """One piece with a number of its own, as often as it fits."""

    def make(size: int) -> bytes:
        parts: list[bytes] = []
        length = 0
        while length < size:
            parts.append(piece % len(parts))
            length += len(parts[-1])
        return b"".join(parts)

    return make


def _nested_array(size: int) -> bytes:
    return b"name=" + nested(b"[", b"]")(size)


def _nested_table(size: int) -> bytes:
    return b"name=" + b"{a=" * (size // 4) + b"1" + b"}" * (size // 4)


def _deep_key(size: int) -> bytes:
    return b".".join([b"a"] * (size // 2)) + b"=1"


_INPUTS: dict[str, Make] = {
    "unknown fields": _numbered(b"f%x=1\n"),
    "unknown tables": _numbered(b"[t%x]\n"),
    "tables in arrays": repeated(b"", b"[[source]]\n", b""),
    "one deep key": _deep_key,
    "deep keys": _numbered(b"a.b.c.d.e.f.g.h%x=1\n"),
    "deep tables": lambda size: b"[" + _deep_key(size)[:-2] + b"]\n",
    "keys as deep as allowed": _numbered(b"b%x." + b".".join([b"a"] * 32) + b"=1\n"),
    "tables as deep as allowed": _numbered(b"[b%x." + b".".join([b"a"] * 32) + b"]\n"),
    "nested arrays": _nested_array,
    "nested tables": _nested_table,
    "many labels": lambda size: b"labels=[" + _numbered(b'"%x",')(size) + b"]\n",
    "labels that are numbers": repeated(b"labels=[", b"1,", b"]\n"),
    "one long string": lambda size: b'name="' + b"a" * size + b'"\n',
    "a string that does not end": lambda size: b'name="' + b"\\" * size,
    "one long number": lambda size: b"onnx_sha256=" + b"9" * size,
    "comments": repeated(b"", b"#\n", b""),
}

#: `tomllib` keeps a dictionary and two sets for each part of a table's name: 900 bytes for two.
_TIMES = {"keys as deep as allowed": 250, "tables as deep as allowed": 550}

CASES = [
    *(
        Case(f"manifest of {name}", make, parse_manifest, _TIMES.get(name, 160), _MANIFEST,
             (ManifestError,))
        for name, make in _INPUTS.items()
    ),
    Case("manifest far over the limit", _INPUTS["unknown fields"], parse_manifest, 0.1,
         refuses=(ManifestError,)),
]  # fmt: skip
