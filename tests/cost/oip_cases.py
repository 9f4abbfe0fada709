"""Inference requests whose JSON is small for its many parts, or large, and their tensors."""

from __future__ import annotations

import base64

from blindgate.oip import OipError, parse_request
from blindgate.routes import find
from tests.cost.harness import Case
from tests.cost.hostile import Make, members, nested, repeated

_HEAD = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["'
_TAIL = b'"]}]}'
#: Half of what a gateway takes, so that the larger input is all of it.
_SIZE = 10 * 1024 * 1024


def _json(data: bytes) -> object:
    # As the gateway and the enclave give it: in memory of its own, that may be written to.
    return parse_request(memoryview(bytearray(data)))


def _binary(data: bytes) -> object:
    length = data.index(b"\n") + 1
    return parse_request(memoryview(data), str(length))


def _image(content: Make) -> Make:
    return lambda size: _HEAD + content(size - len(_HEAD) - len(_TAIL)) + _TAIL


def _tensor(elements: Make, count: int = 1) -> Make:
    def make(size: int) -> bytes:
        data = elements(size)
        said = (
            f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[{count}],'
            f'"parameters":{{"binary_data_size":{len(data)}}}}}]}}\n'
        )
        return said.encode() + data

    return make


def _base64(size: int) -> bytes:
    return base64.b64encode(bytes(range(256)) * (size * 3 // 4 // 256))


#: One of these times is the copy in `_json`.
CASES = [
    *(
        Case(name, make, _json, 1.2, _SIZE, (OipError,))
        for name, make in {
            "unknown members": members(b"{", b"}"),
            "unknown parameters": members(b'{"inputs":[],"parameters":{', b"}}"),
            "inputs of empty arrays": repeated(b'{"inputs":[', b"[],", b"[]]}"),
            "inputs of empty objects": repeated(b'{"inputs":[', b"{},", b"{}]}"),
            "inputs of numbers": repeated(b'{"inputs":[', b"0,", b"0]}"),
            "an array of empty texts": repeated(b"[", b'"",', b'""]'),
            "texts just short enough": repeated(b"[", b'"' + b"x" * 32_000 + b'",', b"0]"),
            "one endless number": repeated(b'{"inputs":', b"1", b"}"),
            "spaces": repeated(b"{", b" ", b"}"),
            "nested arrays": nested(b"[", b"]"),
            "nested objects": nested(b'{"a":', b"}"),
            "quotes": nested(b'"', b'"'),
            "escaped quotes in one text": repeated(b'["', b'\\"', b'"]'),
            "a text without an end": repeated(b'["', b"\\\\", b""),
            "a long id": repeated(b'{"id":"', b"\xf0\x9f\x92\xa5", b'"}'),
            "one image": _image(_base64),
            "one image with escapes": _image(lambda n: _base64(n // 6).replace(b"/", b"\\u002f")),
            "one image of escapes alone": _image(repeated(b"", b"\\u002f", b"")),
            "one image that is not base64 at its end": _image(lambda n: _base64(n) + b"%"),
        }.items()
    ),
    Case("a tensor of one element", _tensor(lambda n: n.to_bytes(4, "little") + bytes(n)), _binary,
         0.1, _SIZE),
    Case("a tensor of empty elements", _tensor(bytes, 16), _binary, 0.1, _SIZE, (OipError,)),
    # A sealed request has at most 8 KiB of path.
    Case("a path", lambda n: b"/v2/models/" + b"%2f" * (n // 3), lambda d: find(d.decode()),
         100, 4 * 1024),
    Case("a path of slashes", lambda n: b"/v2" + b"/" * n, lambda d: find(d.decode()),
         100, 4 * 1024),
]  # fmt: skip
