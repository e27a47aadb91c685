"""Which flows a verb is about: the options that ``flows``, ``export`` and ``observe`` have in common."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from ipaddress import ip_network

from smartxd.protocols import ETHERTYPES, IP
from smartxd.store.flowfilter import LAST_NS, FlowFilter, Network
from smartxd.store.timespan import since_ns

_WHEN = "90s, 10m, 2h, 7d ago, or an RFC 3339 time"
_BY_NAME = {name: ("protocol", number) for number, name in IP.items()} | {
    name: ("ethertype", number) for number, name in ETHERTYPES.items()
}


def add_times(parser: argparse.ArgumentParser) -> None:
    """The options of a time range."""
    group = parser.add_argument_group("when")
    group.add_argument(
        "--since", "--last", type=_time, default="10m", metavar="TIME", help=f"from then on: {_WHEN} (10m)"
    )
    group.add_argument("--until", type=_time, default=LAST_NS, metavar="TIME", help="up to then (now)")


def add_fields(parser: argparse.ArgumentParser) -> None:
    """The options that say what the flows have in their fields; all that are given must hold."""
    group = parser.add_argument_group(
        "which", "All must hold. Addresses, ports and protocols may be outside or inside a tunnel."
    )
    group.add_argument("--interface", metavar="NAME", help="seen on this interface")
    group.add_argument("--policy", metavar="NAME", help="recorded by this TracePolicy")
    for end in ("src", "dst"):
        text = "from" if end == "src" else "to"
        group.add_argument(
            f"--{end}", type=_network, metavar="ADDRESS", help=f"{text} an address or a prefix"
        )
    group.add_argument(
        "--protocol", type=_protocol, metavar="NAME", help="tcp, udp, icmp, arp, … or a number"
    )
    group.add_argument("--port", type=_number("port", 65535), metavar="N", help="of either end")
    group.add_argument("--vni", type=_number("VNI", 2**24 - 1), metavar="N", help="in this VXLAN segment")


def wanted(args: argparse.Namespace) -> FlowFilter:
    """The filter that the options mean."""
    column, number = args.protocol or ("protocol", None)
    return FlowFilter(
        since_ns=getattr(args, "since", 0),
        until_ns=getattr(args, "until", LAST_NS),
        interface=args.interface,
        policy=args.policy,
        vni=args.vni,
        ethertype=number if column == "ethertype" else None,
        protocol=number if column == "protocol" else None,
        port=args.port,
        src=args.src,
        dst=args.dst,
        reason=getattr(args, "reason", None),
        function=getattr(args, "function", None),
    )


def _time(text: str) -> int:
    try:
        return since_ns(text, time.time())
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as err:
        try:
            better = f"; write {ip_network(text, strict=False)}, or the address without its length"
        except ValueError:
            better = ", as in 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32"
        raise argparse.ArgumentTypeError(f"not an address or prefix: {text!r}{better}") from err


def _protocol(text: str) -> tuple[str, int]:
    if found := _BY_NAME.get(text.lower()):
        return found
    if text.isdecimal() and int(text) <= 255:
        return "protocol", int(text)
    raise argparse.ArgumentTypeError(f"no protocol {text!r}; write 0 to 255, or {', '.join(_BY_NAME)}")


def _number(what: str, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) > most:
            raise argparse.ArgumentTypeError(f"not a {what}: {text!r}; write 0 to {most}")
        return int(text)

    return parse
