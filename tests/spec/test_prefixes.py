"""Who holds an address, and what overlaps a prefix, by look-up as by going through all."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from smartxd.spec.addresses import Address, Network
from smartxd.spec.prefixes import Prefixes

# Few bits, so that they often meet; of both families.
ADDRESSES: st.SearchStrategy[Address] = st.builds(
    lambda version, low: ip_address(((10 << 24) if version == 4 else (0xFD << 120)) + low),
    st.sampled_from([4, 6]),
    st.integers(0, 31),
)
NETWORKS: st.SearchStrategy[Network] = st.builds(
    lambda address, spare: ip_network((address, address.max_prefixlen - spare), strict=False),
    ADDRESSES,
    st.integers(0, 5),
)


@given(st.lists(NETWORKS, max_size=8), ADDRESSES, NETWORKS)
def test_prefixes_answer_as_if_all_were_gone_through(
    held: list[Network], address: Address, prefix: Network
) -> None:
    prefixes = Prefixes((network, i) for i, network in enumerate(held))
    of_family = [(i, n) for i, n in enumerate(held) if n.version == address.version]
    holding = list(prefixes.holding(address))
    assert sorted(holding) == [i for i, network in of_family if address in network]
    assert [held[i].prefixlen for i in holding] == sorted((held[i].prefixlen for i in holding), reverse=True)
    assert prefixes.hold(address) == bool(holding)
    meeting = [i for i, n in enumerate(held) if n.version == prefix.version and n.overlaps(prefix)]
    assert sorted(prefixes.overlapping(prefix)) == meeting
    assert prefixes.at(prefix) == (held.index(prefix) if prefix in held else None)
