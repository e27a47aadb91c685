"""Names of protocols, as operators write them: of IP by number, of what is not IP by EtherType."""

from __future__ import annotations

IP = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 89: "ospf", 132: "sctp"}
ETHERTYPES = {0x0806: "arp", 0x0800: "ipv4", 0x86DD: "ipv6", 0x8809: "lacp", 0x88CC: "lldp"}


def ip_name(number: int) -> str:
    """The protocol's name, or its number."""
    return IP.get(number, str(number))


def ether_name(ethertype: int) -> str:
    """The name of an EtherType, or its number as it is usually written."""
    return ETHERTYPES.get(ethertype, f"0x{ethertype:04x}")
