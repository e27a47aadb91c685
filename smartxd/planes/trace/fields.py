"""What C files of probes have to be told of the running kernel: where its structs have fields, by BTF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from smartxd.btf import NoType, Types
from smartxd.errors import PlaneError
from smartxd.planes.trace.probes import CONNECTIONS, DROPS, Probe
from smartxd.planes.trace.state import unavailable

_INTERFACE = {"net_device": ("ifindex", "nd_net.net"), "dst_entry": ("dev",), "net": ("ns.inum",)}
_COMMON = "__sk_common"
FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        DROPS.name: {
            "sk_buff": (
                *("dev", "_skb_refdst", "skb_iif", "head", "data", "tail", "end", "len"),
                *("mac_header", "network_header", "protocol", "vlan_proto", "vlan_tci"),
            ),
            "skb_shared_info": ("gso_size", "gso_segs"),
            "sock": (f"{_COMMON}.skc_net.net",),
            **_INTERFACE,
        },
        CONNECTIONS.name: {
            "sock": (
                *(f"{_COMMON}.{name}" for name in ("skc_net.net", "skc_family", "skc_state", "skc_num")),
                *(f"{_COMMON}.{name}" for name in ("skc_daddr", "skc_rcv_saddr", "skc_dport")),
                *(f"{_COMMON}.skc_bound_dev_if", "sk_protocol", "sk_dst_cache"),
            ),
            "inet_sock": ("inet_sport",),
            "tcp_sock": ("srtt_us",),
            "sk_buff": ("dev", "head", "network_header", "transport_header", "cb"),
            "tcp_skb_cb": ("tcp_gso_segs",),
            **_INTERFACE,
        },
    }
)
OPTIONAL = {"sock": (f"{_COMMON}.skc_v6_daddr", f"{_COMMON}.skc_v6_rcv_saddr", "sk_rx_dst_ifindex")}
"""Fields that some kernels lack; the C files do without."""
REASONS = "skb_drop_reason"
TRACEPOINT = "btf_trace_kfree_skb"
NO_DROPS = ("SKB_NOT_DROPPED_YET", "SKB_CONSUMED")
_WITH_REASON, _WITH_RECEIVER = 4, 5
"""Arguments of the tracepoint's type, of which the first is not the program's."""
_WITHOUT_REASON = "the kernel does not say why it drops a packet (Linux 5.17 does)"


@cache
def refusals() -> Mapping[str, str]:
    """Why this kernel cannot tell what a probe asks, by its name; empty where it can."""
    try:
        types = Types.of_kernel()
    except (OSError, ValueError) as err:
        message = f"the kernel does not tell the layout of its structures (BTF): {err}"
        return dict.fromkeys(FIELDS, message)
    found = {} if types.has_name(REASONS) else {DROPS.name: _WITHOUT_REASON}
    for probe in (probe for probe in (DROPS, CONNECTIONS) if probe.name not in found):
        try:
            flags(probe)
        except PlaneError as err:
            found[probe.name] = err.message
    return found


def flags(probe: Probe) -> tuple[str, ...]:
    """The -D of all of it; PlaneError ``DropsUnavailable`` or the like where the kernel has other fields."""
    try:
        types = Types.of_kernel()
        return (*_fields(types, FIELDS[probe.name]), *(_drop_flags(types) if probe == DROPS else ()))
    except (OSError, ValueError, NoType) as err:
        raise PlaneError(unavailable(probe.name), f"{probe.name}: not on this kernel: {err}") from err


def _fields(types: Types, fields: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, paths in fields.items():
        for path in paths:
            yield f"-D{_macro(name, path)}={types.place(name, path).offset}"
    for name, paths in OPTIONAL.items():
        for path in paths:
            try:
                yield f"-D{_macro(name, path)}={types.place(name, path).offset}"
            except NoType:
                continue


def _drop_flags(types: Types) -> Iterator[str]:
    yield f"-DSK_BUFF_SIZE={types.size('sk_buff')}"
    yield from _tag_flags(types)
    reasons = types.enum(REASONS)
    for name in NO_DROPS:
        # A kernel without one of them never gives it: no reason is as large as this one.
        yield f"-D{name}={reasons.get(name, 0xFFFFFFFF)}u"
    arguments = types.arguments(TRACEPOINT)
    if arguments < _WITH_REASON:
        raise NoType("its tracepoint kfree_skb gives no reason")
    if arguments >= _WITH_RECEIVER:
        yield "-DHAS_RECEIVER"


def _tag_flags(types: Types) -> Iterator[str]:
    """How to tell that an skb has a VLAN tag: until Linux 6.2 by a bit of its own."""
    try:
        yield f"-DSK_BUFF_VLAN_ALL={types.place('sk_buff', 'vlan_all').offset}"
    except NoType:
        place = types.place("sk_buff", "vlan_present")
        yield f"-DSK_BUFF_VLAN_PRESENT={place.offset}"
        yield f"-DSK_BUFF_VLAN_PRESENT_BIT={place.bit % 8}"


def _macro(name: str, path: str) -> str:
    return f"{name}_{path}".upper().replace(".", "_")
