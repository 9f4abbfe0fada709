"""The part of a client's address that tells one client from another."""

from __future__ import annotations

import ipaddress
from typing import Final

#: What one subscriber is given at least: whoever has one address has 2^64 of them (RFC 6177).
_IPV6_PREFIX: Final = 64


def network_of(address: str) -> str:
    """An IPv4 address as it is, an IPv6 address as its /64 network; anything else as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))
