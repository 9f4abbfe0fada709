"""Reading CBOR from somebody who may be hostile (RFC 8949 §10)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, NoReturn

import cbor2

from blindgate.errors import BlindgateError


class CborError(BlindgateError):
    """The bytes are not exactly one CBOR item of the plain kinds that our protocols use."""


def _refuse(*_: object) -> NoReturn:
    raise CborError("the item holds a tag")


#: The tags that cbor2 would turn into dates, regular expressions, shared references, …: work
#: that a stranger's bytes must not start. Unknown tags come out as CBORTag and are refused by
#: the caller's own type checks, except at the top, where COSE has one.
_NO_TAGS: Final = dict.fromkeys(
    [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799],
    _refuse,
)


def decode(data: bytes | bytearray | memoryview, *, max_bytes: int, max_depth: int) -> Any:
    """Decode exactly one item.

    Indefinite lengths are allowed, since the Nitro security module writes them.

    Args:
        data: The encoded item.
        max_bytes: The longest input that is looked at.
        max_depth: How deep arrays and maps may nest.

    Returns:
        Plain Python values; a tag that cbor2 does not know as `cbor2.CBORTag`.

    Raises:
        CborError: Too long, too deep, not CBOR, a map key that comes twice, a known tag, or
            bytes after the item.
    """
    if len(data) > max_bytes:
        raise CborError(f"{len(data)} bytes of CBOR are over the limit of {max_bytes}")
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream, allow_duplicate_keys=False, max_depth=max_depth, semantic_decoders=_NO_TAGS
    )
    try:
        item = decoder.decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CborError("the bytes are not one item of plain CBOR") from error
    if stream.tell() != len(data):
        raise CborError("bytes follow the CBOR item")
    return item
