"""What tshark makes of frames: the fields of a flow, and whether it finds them truncated or malformed.

Nothing is reassembled, since a tracer sees a packet at a time; IPv4's total length of zero is no sign of
segmentation offload, since the kernel says which packets those are.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scapy.utils import PcapWriter

Pairs = list[tuple[str, Any]]
"""A JSON object as it is written: in order, and with what it names twice."""

OPTIONS = ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "ip.tso_support:FALSE")
_TAGS = {"vlan": ("vlan.id", "vlan.etype"), "ieee8021ad": ("ieee8021ad.id", "ieee8021ah.etype")}
_NEXT = {"ip": "ip.proto", "ipv6": (".nxt", ".next_header")}
"""Fields that name the protocol behind; the last one does, with its extension headers in between."""
_PORTS = {
    **{name: (f"{name}.srcport", f"{name}.dstport", f"{name}.dstport") for name in ("udp", "tcp", "sctp")},
    "icmp": ("icmp.type", "icmp.code", "icmp.seq", "icmp.mtu"),
    "icmpv6": ("icmpv6.type", "icmpv6.code", "icmpv6.code"),
}
"""What a flow has as its ports, and the fields of which one says that the header is whole."""
_HEADED = {"1", "6", "17", "47", "58", "132"}
"""Protocols of which the tracer reads a header."""
_ENDED_EARLY = ("_ws.malformed", "_ws.unreassembled")
_IMPOSSIBLE = re.compile(r"Bogus (IP|IPv4|IPv6|TCP) (header )?(length|version)|Bad length value \d < 8")
_EXCEEDS = re.compile(r"exceeds (packet|framing) length|> IP payload length|past the end of the payload")
_ETH_P_802_2, _VXLAN = 4, "4789"


@dataclass
class Dissected:
    """What tshark finds in a frame."""

    fields: dict[str, Any]
    """Columns of ``records.FLOW``; those that the frame does not have are not there."""
    truncated: bool = False
    malformed: bool = False


def dissect(pcaps: dict[str, list[bytes]], folder: Path) -> dict[str, list[Dissected]]:
    """What tshark says of each frame, of all files in one call; the files are left in ``folder``."""
    files = [folder / f"{name}.pcap" for name in pcaps]
    for file, frames in zip(files, pcaps.values(), strict=True):
        with PcapWriter(str(file), linktype=1) as writer:
            for frame in frames:
                writer.write(frame)
    merged = folder / "all.pcapng"
    subprocess.run(["mergecap", "-a", "-w", merged, *files], check=True, timeout=60)
    options = [word for option in OPTIONS for word in ("-o", option)]
    argv = ["tshark", "-n", "-r", merged, "-T", "json", *options]
    shown = subprocess.run(argv, check=True, timeout=120, capture_output=True).stdout
    packets = iter(json.loads(shown, object_pairs_hook=lambda pairs: pairs))
    said = {
        name: [_dissected(dict(dict(next(packets))["_source"])["layers"]) for _ in frames]
        for name, frames in pcaps.items()
    }
    assert next(packets, None) is None
    return said


def _dissected(layers: Pairs) -> Dissected:
    _, frame = layers[0]
    found = Dissected({"bytes": int(dict(frame)["frame.len"]), "tcp_flags": 0})
    fields, prefix = found.fields, ""
    is_fragment = is_unread = is_awaited = False
    for name, content in layers[1:]:
        if name in _ENDED_EARLY:
            found.truncated |= not is_unread
            continue
        said = dict(_leaves(content))
        has_ports = any(field in said for field in _PORTS.get(name, ())[2:])
        if name == "vxlan" and "vni" in fields:
            break  # a tunnel in the tunnel: no field of a flow
        if name == "vxlan" and "vxlan.reserved8" in said:
            fields["vni"], prefix = int(said["vxlan.vni"]), "inner_"
        elif name == "eth" and not prefix:
            fields["ethertype"] = int(said["eth.type"], 16) if "eth.type" in said else _ETH_P_802_2
        elif name in _TAGS and not prefix and _TAGS[name][1] in said:
            vlan, ethertype = (said[field] for field in _TAGS[name])
            fields.setdefault("vlan", int(vlan))
            fields["ethertype"] = int(ethertype, 16)
        elif name in _NEXT and f"{name}.dst" in said:
            fields[f"{prefix}src_ip"], fields[f"{prefix}dst_ip"] = said[f"{name}.src"], said[f"{name}.dst"]
            headers = [text for field, text in _leaves(content) if field.endswith(_NEXT[name])]
            fields[f"{prefix}protocol"] = int(headers[-1])
        elif has_ports:
            src_port, dst_port = (int(said[field]) for field in _PORTS[name][:2])
            fields[f"{prefix}src_port"], fields[f"{prefix}dst_port"] = src_port, dst_port
        fields["tcp_flags"] |= int(said.get("tcp.flags", "0"), 16) & 0xFF
        messages = " ".join(text for field, text in _leaves(content) if field == "_ws.expert.message")
        found.malformed |= bool(_IMPOSSIBLE.search(messages))
        # Lengths within a first fragment speak of the whole.
        found.truncated |= bool(_EXCEEDS.search(messages)) and not is_fragment
        is_fragment |= said.get("ip.flags.mf", said.get("ipv6.fraghdr.more")) == "1"
        # A later fragment has no headers; what ICMP carries is not ours to read.
        is_later = int(said.get("ip.frag_offset", said.get("ipv6.fraghdr.offset", "0"))) > 0
        is_unread = is_later or (name in ("icmp", "icmpv6") and has_ports)
        # Where nothing is behind a header of IPv4 or UDP, tshark does not look for the one that should be.
        is_awaited = said.get("ip.proto") in _HEADED and not is_later
        is_awaited |= said.get("udp.dstport") == _VXLAN and not prefix
    found.truncated |= is_awaited
    return found


def _leaves(content: Any) -> Iterator[tuple[str, str]]:
    """All that a layer says, but what it quotes of another packet."""
    for name, value in content if isinstance(content, list) else []:
        if isinstance(value, str):
            yield name, value
        elif name not in _NEXT:
            yield from _leaves(value)
