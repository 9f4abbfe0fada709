"""Memory of bodies: used again, and never by two at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_app.link_server.buffer_pool import BodyMemory, Lease, _size

MIB = 1024 * 1024


def test_what_was_given_back_serves_the_next_body_of_about_its_size() -> None:
    memory = BodyMemory(kept=4 * MIB)
    first = memory.lease(300_000)
    first.view[:3] = b"abc"
    first.end()
    again = memory.lease(299_000)
    assert bytes(again.view[:3]) == b"abc", "new memory would be zero"
    assert len(again.view) == 299_000


def test_two_bodies_at_once_have_two_memories() -> None:
    memory = BodyMemory(kept=MIB)
    one, other = memory.lease(5000), memory.lease(5000)
    one.view[:] = b"1" * 5000
    other.view[:] = b"2" * 5000
    assert bytes(one.view) == b"1" * 5000


def test_no_more_is_kept_than_may_be() -> None:
    memory = BodyMemory(kept=10_000)
    leases = [memory.lease(4096) for _ in range(5)]
    for lease in leases:
        lease.end()
    assert repr(memory) == "<BodyMemory 8192 of 10000 bytes free>"


def test_memory_that_somebody_still_looks_at_is_not_used_again() -> None:
    memory = BodyMemory(kept=MIB)
    lease = memory.lease(5000)
    lease.view[:] = b"x" * 5000
    part = lease.view[10:20]
    lease.end()
    memory.lease(5000).view[:] = b"y" * 5000
    assert bytes(part) == b"x" * 10


def test_after_the_end_there_is_nothing_to_see_and_the_second_end_is_none() -> None:
    memory = BodyMemory(kept=MIB)
    lease = memory.lease(100)
    lease.end()
    lease.end()
    with pytest.raises(ValueError, match="released"):
        len(lease.view)
    assert memory.lease(100).view is not memory.lease(100).view


@given(st.integers(1, 256 * MIB))
def test_a_piece_is_large_enough_and_wastes_little(count: int) -> None:
    size = _size(count)
    assert size >= count
    assert size <= max(4096, count + count // 4)
    assert _size(size) == size


@given(st.lists(st.integers(1, 40_000), max_size=30))
def test_leases_never_share_memory(counts: list[int]) -> None:
    memory = BodyMemory(kept=100_000)
    held: list[tuple[Lease, int]] = []
    for number, count in enumerate(counts):
        if held and number % 3 == 2:
            held.pop(0)[0].end()
        lease = memory.lease(count)
        lease.view[:] = bytes([number]) * count
        held.append((lease, number))
        for other, mark in held:
            assert set(other.view) == {mark}
