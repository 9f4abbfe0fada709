"""The few lines of protocol buffers that a graph for tests needs."""

from __future__ import annotations


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(name: bytes, value: bytes) -> bytes:
    return field(5, field(1, name) + field(2, value))


def node(name: bytes, operation: bytes, *inputs: bytes, more: bytes = b"") -> bytes:
    content = field(1, name) + field(2, operation)
    return field(1, content + b"".join(field(3, one) for one in inputs) + more)


def shape(*sizes: int) -> bytes:
    return field(2, b"".join(field(2, field(1, size)) for size in sizes))
