"""Refused sign-ins, by network and minute; and which network an address belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.addresses import network_of
from gateway.auth.attempts import MOST_NETWORKS, MOST_REFUSED, RefusedSignIns


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_address_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_network_are_one(address: object, host: int) -> None:
    other = (int(address) >> 64 << 64) | host  # type: ignore[call-overload]
    if (other >> 32) == 0xFFFF or (int(address) >> 32) == 0xFFFF:  # type: ignore[call-overload]
        return  # IPv4 in IPv6
    from ipaddress import IPv6Address

    assert network_of(str(IPv6Address(other))) == network_of(str(address))


def test_sixty_a_minute_are_counted_and_more_wait_for_the_next_one() -> None:
    now = 1000.0
    refused = RefusedSignIns(lambda: now)
    assert MOST_REFUSED == 60
    assert {refused.count("192.0.2.1") for _ in range(60)} == {None}
    now += 20.5
    assert refused.count("192.0.2.1") == 40
    assert refused.count("192.0.2.2") is None, "others are not concerned"
    now += 39.4
    assert refused.count("192.0.2.1") == 1
    now += 0.1
    assert refused.count("192.0.2.1") is None


def test_addresses_of_one_network_share_their_count() -> None:
    refused = RefusedSignIns(lambda: 0.0)
    waits = [refused.count(f"2001:db8::{number:x}") for number in range(61)]
    assert waits == [None] * 60 + [60]


def test_a_bounded_number_of_networks_is_counted() -> None:
    refused = RefusedSignIns(lambda: 0.0)
    assert MOST_NETWORKS == 4096
    for number in range(4096 + 60):
        assert refused.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") is None
    assert refused.count("192.0.2.1") == 60
    assert repr(refused) == "<RefusedSignIns of 4097 networks>"
