"""Which rows are asked for, as a condition in SQL on one segment."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, ip_address

import pyarrow as pa
import pyarrow.compute as pc

from smartxd.records import SPANS
from smartxd.store import openflows

Network = IPv4Network | IPv6Network
Find = Callable[[str, Sequence[object]], Iterable[Sequence[object]]]
"""The rows that a query gives in a segment."""

LAST_NS = 2**63 - 1

_FUNCTION = "substr(location, 1, instr(location || '+', '+') - 1)"
_TIME = "{0} >= ? AND {0} < ?"
_ROWS = (
    "rowid >= coalesce((SELECT min(first_row) FROM {0}batches WHERE {1} AND t_max_ns >= ?), 1 << 62)"
    " AND rowid <= coalesce((SELECT max(last_row) FROM {0}batches WHERE {1} AND t_min_ns < ?), 0)"
)


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which rows; None is any. A flow is of the time of its last packet: since ≤ ``last_ns`` < until.

    Addresses, ports and protocols are looked for outside and inside a tunnel.
    """

    since_ns: int = 0
    until_ns: int = LAST_NS
    interface: str | None = None
    policy: str | None = None
    vni: int | None = None
    ethertype: int | None = None
    protocol: int | None = None
    port: int | None = None
    """Of either end."""
    src: Network | None = None
    dst: Network | None = None
    reason: str | None = None
    """Of a drop; what is not one has none."""
    function: str | None = None
    """In which the kernel dropped it."""
    state: str | None = None
    """To which a connection changed last."""

    def where(self, stream: str, source: str, find: Find, schema: str = "") -> tuple[str, list[object]]:
        """The condition on a stream of a segment, and its arguments; it first skips batches of other times.

        Also on the flows that go on, which are in no batch. ``source`` is what to select them from. ``find``
        asks the segment, which is attached as ``schema`` where it is not the database itself.
        """
        at = f"{schema}." if schema else ""
        going_on = stream == openflows.TABLE
        terms = [_TIME.format(SPANS["flows" if going_on else stream][1])]
        args: list[object] = [self.since_ns, self.until_ns]
        if not going_on:
            # Rows are in the order of time, but for a clock that jumps: their own time decides.
            batches = _ROWS.format(at, f"stream = '{stream}'")
            terms = [f"{batches} AND {terms[0]}"]
            args += args
        times = list(args)
        for columns, value in self._values(stream):
            if value is not None:
                terms.append(f"({' OR '.join(f'{column} = ?' for column in columns)})")
                args += [value] * len(columns)
        for column, network in (("src_ip", self.src), ("dst_ip", self.dst)):
            if network is not None:
                columns = _where(stream, column)
                rows = f"{source} WHERE {terms[0]}"
                inside = json.dumps(_inside(network, columns, find, rows, times))
                terms.append(" OR ".join(f"{c} IN (SELECT value FROM json_each(?))" for c in columns))
                terms[-1] = f"({terms[-1]})"
                args += [inside] * len(columns)
        return " AND ".join(terms), args

    def chosen(self, packets: pa.Table) -> pa.Table:
        """The rows of a table of packets that are asked for, as ``where`` would choose them."""
        time_ns = packets["time_ns"]
        terms = [pc.greater_equal(time_ns, self.since_ns), pc.less(time_ns, self.until_ns)]
        for columns, value in self._values("packets"):
            if value is not None:
                terms.append(_any(pc.equal(packets[column], value) for column in columns))
        for column, network in (("src_ip", self.src), ("dst_ip", self.dst)):
            if network is not None:
                terms.append(_any(_is_in(packets[c], network) for c in _where("packets", column)))
        return packets.filter(reduce(pc.and_, terms))

    def _values(self, stream: str) -> tuple[tuple[Sequence[str], object], ...]:
        return (
            (("interface",), self.interface),
            (("policy",), self.policy),
            (("vni",), self.vni),
            (("ethertype",), self.ethertype),
            (("reason",), self.reason),
            ((_FUNCTION,), self.function),
            (("state",), self.state),
            (_where(stream, "protocol"), self.protocol),
            ((*_where(stream, "src_port"), *_where(stream, "dst_port")), self.port),
        )


def _any(terms: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    return reduce(pc.or_, (pc.fill_null(term, fill_value=False) for term in terms))


def _is_in(addresses: pa.ChunkedArray, network: Network) -> pa.ChunkedArray:
    """Which of the addresses, as text, are in the network; each distinct one is looked at once."""
    distinct = pc.unique(addresses.drop_null()).to_pylist()
    return pc.is_in(addresses, pa.array([a for a in distinct if ip_address(a) in network], pa.string()))


_OF_CONNECTIONS = {
    **{"src_ip": "local_ip", "dst_ip": "remote_ip"},
    **{"src_port": "local_port", "dst_port": "remote_port"},
}


def _where(stream: str, column: str) -> tuple[str, ...]:
    """Where a stream has what flows have in a column: outside and inside a tunnel."""
    return (_OF_CONNECTIONS.get(column, column),) if stream == "tcp" else (column, f"inner_{column}")


def _inside(
    network: Network, columns: Sequence[str], find: Find, rows: str, args: Sequence[object]
) -> list[str]:
    """The addresses of a network, as those of a segment's ``rows`` write them that have one.

    Text does not sort as addresses do, so each one that is there is compared, once; a single address is not
    looked for.
    """
    if network.num_addresses == 1:
        address = network.network_address
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return [socket.inet_ntop(family, address.packed)]
    selects = (f"SELECT {c} FROM {rows} AND {c} IS NOT NULL" for c in columns)
    found = (str(text) for (text,) in find(" UNION ".join(selects), [*args] * len(columns)))
    return [text for text in found if (":" in text) == (network.version == 6) and ip_address(text) in network]
