"""A split virtqueue in the memory of a guest, from the device's side.

Source: Virtual I/O Device (VIRTIO) 1.2, section 2.7. The guest is ours, yet its driver is not:
every address is checked against the memory that the guest has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blindgate.errors import BlindgateError

_DESCRIPTOR: Final = struct.Struct("<QIHH")  # address, length, flags, next
_NEXT: Final = 1
_WRITE: Final = 2
_U16: Final = struct.Struct("<H")
_USED_ELEMENT: Final = struct.Struct("<II")  # first descriptor, bytes written
#: Flags and index come before the entries of both rings.
_RING_HEADER: Final = 4


class GuestError(BlindgateError):
    """The guest's driver breaks the rules of virtio."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the guest's memory.

    Attributes:
        guest: Its address in the guest.
        user: Its address in the emulator.
        memory: Its bytes, shared with the guest.
    """

    guest: int
    user: int
    memory: memoryview


class GuestMemory:
    """All of a guest's memory that the device may touch."""

    def __init__(self, regions: list[Region]) -> None:
        self._regions = regions

    def at_guest(self, address: int, length: int) -> memoryview:
        """Bytes at an address of the guest.

        Raises:
            GuestError: They are not in its memory.
        """
        return self._find(address, length, [region.guest for region in self._regions])

    def at_user(self, address: int, length: int) -> memoryview:
        """Bytes at an address of the emulator.

        Raises:
            GuestError: They are not in the guest's memory.
        """
        return self._find(address, length, [region.user for region in self._regions])

    def _find(self, address: int, length: int, bases: list[int]) -> memoryview:
        for base, region in zip(bases, self._regions, strict=True):
            start = address - base
            if start >= 0 and start + length <= len(region.memory):
                return region.memory[start : start + length]
        raise GuestError(f"{length} bytes at {address:#x} are outside the guest's memory")


@dataclass(frozen=True, slots=True)
class Chain:
    """What the driver has put into the queue at once.

    Attributes:
        head: Its first descriptor, which names it.
        readable: What the driver has written.
        writable: Where the device may write.
    """

    head: int
    readable: bytes
    writable: tuple[memoryview, ...]

    @property
    def room(self) -> int:
        """How many bytes can be written."""
        return sum(map(len, self.writable))


class Virtqueue:
    """One queue.

    Args:
        memory: The guest's.
        size: Number of descriptors, a power of two.
        descriptors: Emulator's address of the descriptor table.
        available: Emulator's address of the ring that the driver writes.
        used: Emulator's address of the ring that the device writes.
        begin: Index of the first entry to take.
    """

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        *,
        descriptors: int,
        available: int,
        used: int,
        begin: int = 0,
    ) -> None:
        if not 0 < size <= 1024 or size & (size - 1):
            raise GuestError(f"a queue of {size} descriptors")
        self._memory = memory
        self._size = size
        self._descriptors = memory.at_user(descriptors, _DESCRIPTOR.size * size)
        self._available = memory.at_user(available, _RING_HEADER + 2 * size)
        self._used = memory.at_user(used, _RING_HEADER + _USED_ELEMENT.size * size)
        self.next_available = begin
        (self._next_used,) = _U16.unpack_from(self._used, 2)

    def take(self) -> Iterator[Chain]:
        """What the driver has made available since the last time."""
        (index,) = _U16.unpack_from(self._available, 2)
        while self.next_available != index:
            slot = self.next_available % self._size
            (head,) = _U16.unpack_from(self._available, _RING_HEADER + 2 * slot)
            self.next_available = (self.next_available + 1) & 0xFFFF
            yield self._chain(head)

    def _chain(self, head: int) -> Chain:
        readable = bytearray()
        writable: list[memoryview] = []
        number = head
        for _ in range(self._size):
            if number >= self._size:
                raise GuestError(f"descriptor {number} of {self._size}")
            found = _DESCRIPTOR.unpack_from(self._descriptors, _DESCRIPTOR.size * number)
            address, length, flags, following = found
            part = self._memory.at_guest(address, length)
            if flags & _WRITE:
                writable.append(part)
            else:
                readable += part
            if not flags & _NEXT:
                return Chain(head, bytes(readable), tuple(writable))
            number = following
        raise GuestError("a chain of descriptors without an end")

    def give_back(self, chain: Chain, written: int) -> None:
        """Return a chain to the driver, `written` bytes of which the device has filled."""
        slot = self._next_used % self._size
        place = _RING_HEADER + _USED_ELEMENT.size * slot
        _USED_ELEMENT.pack_into(self._used, place, chain.head, written)
        self._next_used = (self._next_used + 1) & 0xFFFF
        _U16.pack_into(self._used, 2, self._next_used)


def scatter(data: bytes, places: tuple[memoryview, ...]) -> int:
    """Write data into buffers, one after the other; how much had room."""
    written = 0
    for place in places:
        part = data[written : written + len(place)]
        place[: len(part)] = part
        written += len(part)
    return written
