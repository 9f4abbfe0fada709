"""Leave out of a progressive JPEG file what a decoding at an eighth of its size does not use.

At an eighth, a block of 8 x 8 samples becomes one: its mean, the DC coefficient. In a progressive
file (ITU-T T.81 annex G) the other 63 come in scans of their own, which are most of the file, and
unpacking them is most of the time. For the components at full resolution (brightness, in nearly
every photo) those scans are replaced by one short scan that says "all zero", so that the decoder
knows the picture to be complete and gives, to the bit, what it would have given. Components at
half the resolution are decoded at a quarter of it: their scans stay.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from enclave_app.detector.header import HeaderError

_END: Final = b"\xff\xd9"
_NO_RESTARTS: Final = b"\xff\xdd\x00\x04\x00\x00"
#: A Huffman table (AC, number 0) of the codes for "this and the next 2^n.. blocks are zero", n = 0
#: to 14 (G.1.2.2), each of 4 bits.
_ZERO_RUNS: Final = (
    b"\xff\xc4" + struct.pack(">H", 2 + 1 + 16 + 15) + b"\x10" + bytes([0, 0, 0, 15, *[0] * 12])
    + bytes(length << 4 for length in range(15))
)  # fmt: skip
_LONGEST_RUN: Final = 0x7FFF


@dataclass(frozen=True)
class _Component:
    number: int
    across: int
    down: int


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    components: tuple[_Component, ...]

    def full(self) -> list[_Component]:
        """The components at full resolution."""
        across = max(component.across for component in self.components)
        down = max(component.down for component in self.components)
        return [
            component
            for component in self.components
            if (component.across, component.down) == (across, down)
        ]


def without_detail(data: bytes) -> bytes:
    """Rewrite a progressive JPEG file for a decoding at an eighth of its size.

    Raises:
        HeaderError: The file has no end, or a broken segment: it is truncated.
        struct.error: The same.
    """
    markers = _markers(data)
    kept, at = [data[:2]], 2
    frame: _Frame | None = None
    while True:
        if data[at : at + 1] != b"\xff":
            raise HeaderError("no marker where one belongs")
        while data[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        kind = data[at : at + 2]
        if kind == _END:
            break
        end = at + 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if kind == b"\xff\xc2":
            frame = _frame(data, at)
        if kind == b"\xff\xda":
            following = int(np.searchsorted(markers, end))
            if frame is None or following == len(markers):
                raise HeaderError("no frame, or no end")
            end = int(markers[following])
            if _is_detail(data, at, frame):
                at = end
                continue
        kept.append(data[at:end])
        at = end
    if frame is None:
        raise HeaderError("no frame")
    empty = [_empty_scan(component.number, _blocks(frame)) for component in frame.full()]
    return b"".join([*kept, _NO_RESTARTS, _ZERO_RUNS, *empty, _END])


def _markers(data: bytes) -> np.typing.NDArray[np.intp]:
    """Where a marker may begin: 0xFF before anything but a stuffed zero, a restart, a fill byte."""
    raw = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(raw[:-1] == 0xFF)
    following = raw[places + 1]
    restart = (following >= 0xD0) & (following <= 0xD7)
    return np.asarray(places[(following != 0) & (following != 0xFF) & ~restart])


def _frame(data: bytes, at: int) -> _Frame:
    """The frame header, B.2.2; `header` has checked it."""
    height, width, count = struct.unpack_from(">HHB", data, at + 5)
    rows = [struct.unpack_from("BB", data, at + 10 + 3 * index) for index in range(count)]
    components = tuple(_Component(number, both >> 4, both & 15) for number, both in rows)
    return _Frame(width, height, components)


def _is_detail(data: bytes, at: int, frame: _Frame) -> bool:
    """Whether a scan (B.2.3) holds other coefficients than DC of a component at full resolution."""
    count, number = struct.unpack_from("BB", data, at + 4)
    (first,) = struct.unpack_from("B", data, at + 5 + 2 * count)
    return first > 0 and any(component.number == number for component in frame.full())


def _blocks(frame: _Frame) -> int:
    """Blocks of a component at full resolution in a scan of its own, A.2.3."""
    return -(-frame.width // 8) * -(-frame.height // 8)


def _empty_scan(number: int, blocks: int) -> bytes:
    """A scan of one component's 63 coefficients that are all zero."""
    bits = []
    while blocks:
        run = min(blocks, _LONGEST_RUN)
        length = run.bit_length() - 1
        bits.append(f"{length:04b}" + (f"{run - (1 << length):0{length}b}" if length else ""))
        blocks -= run
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    packed = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")
    return b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, number, 0, 1, 63, 0) + packed
