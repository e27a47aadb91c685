"""What bpf/drops.c has to be told of the running kernel: where its structs have which fields, by BTF."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from smartxd.btf import NoType, Types
from smartxd.errors import PlaneError

FIELDS = {
    "sk_buff": (
        *("dev", "_skb_refdst", "skb_iif", "head", "data", "tail", "end", "len"),
        *("mac_header", "network_header", "protocol", "vlan_proto", "vlan_tci"),
    ),
    "skb_shared_info": ("gso_size", "gso_segs"),
    "net_device": ("ifindex", "nd_net.net"),
    "dst_entry": ("dev",),
    "sock": ("__sk_common.skc_net.net",),
    "net": ("ns.inum",),
}
REASONS = "skb_drop_reason"
TRACEPOINT = "btf_trace_kfree_skb"
NO_DROPS = ("SKB_NOT_DROPPED_YET", "SKB_CONSUMED")
_WITH_REASON, _WITH_RECEIVER = 4, 5
"""Arguments of the tracepoint's type, of which the first is not the program's."""


@cache
def refusal() -> str:
    """Why this kernel cannot say what it drops, empty where it seems to; this costs little."""
    try:
        types = Types.of_kernel()
    except (OSError, ValueError) as err:
        return f"the kernel does not tell the layout of its structures (BTF): {err}"
    if not types.has_name(REASONS):
        return "the kernel does not say why it drops a packet (Linux 5.17 does)"
    return ""


def flags() -> tuple[str, ...]:
    """The -D of all of it; PlaneError ``DropsUnavailable`` where the kernel has other fields."""
    try:
        return tuple(_flags(Types.of_kernel()))
    except (OSError, ValueError, NoType) as err:
        raise PlaneError("DropsUnavailable", f"drops cannot be told on this kernel: {err}") from err


def _flags(types: Types) -> Iterator[str]:
    for name, paths in FIELDS.items():
        for path in paths:
            yield f"-D{_macro(name, path)}={types.place(name, path).offset}"
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
