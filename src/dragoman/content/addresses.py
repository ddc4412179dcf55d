"""Which network addresses are public: the only ones that a request can make this server connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# Beside what the standard library calls private. First the relays of 6to4, whose use ended; last the address
# at which a machine in the Azure cloud finds what manages it, and finds its secrets.
_CLOSED_V4 = tuple(ip_network(text) for text in ("192.88.99.0/24", "192.0.0.0/24", "168.63.129.16/32"))
_UNICAST_V6 = IPv6Network("2000::/3")
# Protocols' own (Teredo among them), documentation, 6to4, and what replaced the first network of tests.
_CLOSED_V6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an address in its usual form leads to the public internet; False for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    if address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return address.is_global and not any(address in network for network in _CLOSED_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    """An address that holds another one leads where that one does."""
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address in _UNICAST_V6 and address.is_global and not any(address in network for network in _CLOSED_V6)
    )
