"""How much of something scarce one caller may hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enclave_app.scheduling.fair_share import FairShare


def take_all(share: FairShare, caller: bytes | None) -> int:
    taken = 0
    while share.allows(caller):
        share.take(caller)
        taken += 1
    return taken


def test_one_caller_alone_gets_three_quarters() -> None:
    assert [take_all(FairShare(total), b"a") for total in (1, 2, 4, 8, 100)] == [1, 2, 3, 6, 75]


def test_what_is_given_back_counts_one_each() -> None:
    share = FairShare(8)
    assert take_all(share, b"a") == 6
    for given_back in range(1, 7):
        for _ in range(given_back):
            share.give_back(b"a")
        assert share.free == 2 + given_back
        assert take_all(share, b"a") == given_back, "what is still held counts on"


def test_callers_that_hold_nothing_take_no_memory() -> None:
    share = FairShare(8)
    for number in range(100):
        share.allows(b"%d" % number)
        share.take(b"%d" % number)
        share.give_back(b"%d" % number)
    assert len(share._held) == 0
    assert share.free == 8


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=200))
def test_nobody_who_holds_nothing_is_refused_while_something_is_free(
    steps: list[tuple[int, bool]],
) -> None:
    share, held = FairShare(16), [0] * 5
    for number, takes in steps:
        caller = bytes([number])
        if takes and share.allows(caller):
            assert held[number] < 3 * share.free
            share.take(caller)
            held[number] += 1
        elif not takes and held[number]:
            share.give_back(caller)
            held[number] -= 1
        assert share.free == 16 - sum(held) >= 0
        assert share.allows(b"a new caller") is (share.free > 0)
