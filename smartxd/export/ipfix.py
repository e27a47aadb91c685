"""Flows as IPFIX messages (RFC 7011), one after the other: an IPFIX file (RFC 5655).

A template has no place for a field that is not there, so there is one for each set of fields that rows have.
What is inside a tunnel follows what is outside with the same information elements, the outer ones first, as
RFC 7011 section 8 orders what is seen in layers; ``layer2SegmentId`` stands between the two.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smartxd.records import END_REASONS, FLOW

MESSAGE_MAX = 65_535
_VERSION = 10
_HEADER = struct.Struct("!HHIII")
_SET = struct.Struct("!HH")
_TEMPLATE_SET, _OPTIONS_SET = 2, 3
_OPTIONS_TEMPLATE, _FIRST_TEMPLATE = 256, 257
_VARIABLE = 65_535
_TEXT_MAX = 254
"""Longer text takes another form of length; no name of smartxd's is so long."""
_NS = 1_000_000_000
_NTP_EPOCH_S = 2_208_988_800
_ETHERNET_BYTES, _TAG_BYTES = 14, 4
_VXLAN = 1 << 56
_OBSERVATION_DOMAIN_ID, _OBSERVATION_DOMAIN_NAME = 149, 300

Convert = Callable[[pa.ChunkedArray, pa.Table], Any]
"""A column, and the table that it is of, as an array of numpy."""


class Element(NamedTuple):
    """An information element of IANA's registry, and how a column becomes it."""

    number: int
    type: str
    """Of numpy, in network order; empty for text."""
    convert: Convert


def _plain(column: pa.ChunkedArray, _: pa.Table) -> Any:
    return column.to_numpy()


def _ntp(column: pa.ChunkedArray, _: pa.Table) -> Any:
    """dateTimeNanoseconds: seconds since 1900 and 2^-32 of them, as NTP has them."""
    seconds, rest = np.divmod(column.to_numpy(), _NS)
    fraction = ((rest.astype("u8") << np.uint64(32)) + np.uint64(_NS - 1)) // np.uint64(_NS)
    return ((seconds + _NTP_EPOCH_S).astype("u8") << np.uint64(32)) | fraction


def _egress(column: pa.ChunkedArray, _: pa.Table) -> Any:
    return pc.equal(column, "egress").to_numpy().astype("u1")


def _end_reason(column: pa.ChunkedArray, _: pa.Table) -> Any:
    numbers = pa.array(END_REASONS.values(), pa.uint8())
    found = numbers.take(pc.index_in(column, pa.array(END_REASONS)).combine_chunks())
    return found.fill_null(0).to_numpy()  # of a later release: 0 is reserved


def _ip_octets(column: pa.ChunkedArray, table: pa.Table) -> Any:
    """octetDeltaCount is of IP packets: without what Ethernet puts before each."""
    tags = table["vlan"].is_valid().to_numpy().astype("u8") * np.uint64(_TAG_BYTES)
    before = table["packets"].to_numpy() * (tags + np.uint64(_ETHERNET_BYTES))
    return np.maximum(column.to_numpy(), before) - before


def _vxlan(column: pa.ChunkedArray, _: pa.Table) -> Any:
    """layer2SegmentId: its first byte says that it is a VNI of VXLAN."""
    return column.to_numpy().astype("u8") | np.uint64(_VXLAN)


def _address(column: pa.ChunkedArray, _: pa.Table) -> Any:
    encoded = column.combine_chunks().dictionary_encode()
    packed = [ip_address(text).packed for text in encoded.dictionary.to_pylist()]
    return np.array(packed, f"V{len(packed[0])}")[encoded.indices.to_numpy()]


ELEMENTS: tuple[tuple[str, Element], ...] = (
    ("first_ns", Element(156, ">u8", _ntp)),  # flowStartNanoseconds
    ("last_ns", Element(157, ">u8", _ntp)),  # flowEndNanoseconds
    ("packets", Element(2, ">u8", _plain)),  # packetDeltaCount
    ("bytes", Element(352, ">u8", _plain)),  # layer2OctetDeltaCount
    ("direction", Element(61, "u1", _egress)),  # flowDirection
    ("interface", Element(82, "", _plain)),  # interfaceName
    ("policy", Element(335, "", _plain)),  # selectorName
    ("sampled_one_in", Element(34, ">u4", _plain)),  # samplingInterval
    ("ethertype", Element(256, ">u2", _plain)),  # ethernetType
    ("vlan", Element(58, ">u2", _plain)),  # vlanId
    ("tcp_flags", Element(6, ">u2", _plain)),  # tcpControlBits
    ("end_reason", Element(136, "u1", _end_reason)),  # flowEndReason
)
"""Columns and what they become, in the order of a template; a column that no row has is left out."""

_LAYER: tuple[tuple[str, Element], ...] = (
    ("protocol", Element(4, "u1", _plain)),  # protocolIdentifier
    ("src_port", Element(7, ">u2", _plain)),  # sourceTransportPort
    ("dst_port", Element(11, ">u2", _plain)),  # destinationTransportPort
)
_ADDRESSES = {
    "src_ip": (Element(8, "V4", _address), Element(27, "V16", _address)),  # source IPv4, IPv6 address
    "dst_ip": (Element(12, "V4", _address), Element(28, "V16", _address)),  # destination
}
_VNI = Element(351, ">u8", _vxlan)  # layer2SegmentId
_OCTETS = Element(1, ">u8", _ip_octets)  # octetDeltaCount

Shape = tuple[tuple[str, Element], ...]
"""The fields of a template, with the columns that they come from."""


@dataclass(slots=True)
class Messages:
    """One stream of messages about one box."""

    box: str
    exported_s: int
    """The time of export, seconds since 1970."""
    _templates: dict[Shape, int] = field(default_factory=dict)
    _records: int = 0

    @property
    def domain(self) -> int:
        """Tells the boxes of a collection apart; the name itself is in the first message."""
        return zlib.crc32(self.box.encode()) or 1

    def begin(self) -> bytes:
        """The first message: which box observed what follows."""
        fields = struct.pack(
            "!7H", _OPTIONS_TEMPLATE, 2, 1, _OBSERVATION_DOMAIN_ID, 4, _OBSERVATION_DOMAIN_NAME, _VARIABLE
        )
        name = self.box.encode()[:_TEXT_MAX]
        record = struct.pack("!IB", self.domain, len(name)) + name
        return self._message([_set(_OPTIONS_SET, fields), _set(_OPTIONS_TEMPLATE, record)], records=1)

    def flows(self, table: pa.Table) -> Iterator[bytes]:
        """Messages with all rows of a table of ``records.FLOW``; those of one shape follow each other."""
        for shape, rows in _by_shape(table):
            fresh = shape not in self._templates
            template = self._templates.setdefault(shape, _FIRST_TEMPLATE + len(self._templates))
            if fresh:
                yield self._message([_set(_TEMPLATE_SET, _template(template, shape))], records=0)
            for part in _by_text_lengths(rows, [column for column, e in shape if not e.type]):
                records = _encoded(shape, part)
                room = (MESSAGE_MAX - _HEADER.size - _SET.size) // records.itemsize
                for start in range(0, len(records), room):
                    some = records[start : start + room]
                    yield self._message([_set(template, some.tobytes())], records=len(some))

    def _message(self, sets: list[bytes], records: int) -> bytes:
        body = b"".join(sets)
        sequence = self._records & 0xFFFFFFFF
        self._records += records
        return _HEADER.pack(_VERSION, _HEADER.size + len(body), self.exported_s, sequence, self.domain) + body


def _set(number: int, content: bytes) -> bytes:
    return _SET.pack(number, _SET.size + len(content)) + content


def _template(number: int, shape: Shape) -> bytes:
    fields = ((e.number, np.dtype(e.type).itemsize if e.type else _VARIABLE) for _, e in shape)
    return struct.pack("!HH", number, len(shape)) + b"".join(struct.pack("!HH", *f) for f in fields)


def _by_shape(table: pa.Table) -> Iterator[tuple[Shape, pa.Table]]:
    """The rows, those that have the same fields together."""
    bits: list[tuple[str, pa.ChunkedArray]] = []
    for name in table.column_names:
        if FLOW.field(name).nullable:
            bits.append((name, table[name].is_valid()))
    for prefix in ("", "inner_"):
        is_ip6 = pc.fill_null(pc.match_substring(table[f"{prefix}src_ip"], ":"), False)
        bits.append((f"{prefix}ip6", is_ip6))
    bits.append(("tcp_flags", pc.not_equal(table["tcp_flags"], 0)))
    masks = np.zeros(table.num_rows, "u8")
    for place, (_, bit) in enumerate(bits):
        masks |= bit.to_numpy().astype("u8") << np.uint64(place)
    for mask in np.unique(masks):
        has = {name: bool(int(mask) >> place & 1) for place, (name, _) in enumerate(bits)}
        yield _shape(has, table.column_names), table.take(pa.array(np.flatnonzero(masks == mask)))


def _shape(has: Mapping[str, bool], columns: list[str]) -> Shape:
    fields = [(name, e) for name, e in ELEMENTS if name in columns and has.get(name, True)]
    fields += _layer("", has)
    if has["src_ip"]:
        fields.append(("bytes", _OCTETS))
    if has["vni"]:
        fields.append(("vni", _VNI))
    return (*fields, *_layer("inner_", has))


def _layer(prefix: str, has: Mapping[str, bool]) -> list[tuple[str, Element]]:
    version = int(has[f"{prefix}ip6"])
    ends = [(f"{prefix}{name}", elements[version]) for name, elements in _ADDRESSES.items()]
    more = [(f"{prefix}{name}", element) for name, element in _LAYER]
    return [(name, element) for name, element in (*ends, *more) if has[name]]


def _by_text_lengths(table: pa.Table, columns: list[str]) -> Iterator[pa.Table]:
    """The rows, those whose texts are of the same lengths together: they are encoded in as many bytes."""
    lengths = np.zeros(table.num_rows, "u8")
    for column in columns:
        lengths = lengths << np.uint64(8) | pc.binary_length(table[column]).to_numpy().astype("u8")
    for each in np.unique(lengths):
        yield table.take(pa.array(np.flatnonzero(lengths == each)))


def _encoded(shape: Shape, table: pa.Table) -> npt.NDArray[np.void]:
    """The rows as records of their template, whose texts have the same lengths in all."""
    types: list[tuple[str, str]] = []
    values: dict[str, Any] = {}
    for place, (column, element) in enumerate(shape):
        name = f"f{place}"
        if element.type:
            types.append((name, element.type))
            values[name] = element.convert(table[column], table)
            continue
        texts = np.array([text.encode()[:_TEXT_MAX] for text in table[column].to_pylist()])
        types += [(f"{name}l", "u1"), (name, f"V{texts.itemsize}")]
        values[f"{name}l"], values[name] = np.uint8(texts.itemsize), texts.view(f"V{texts.itemsize}")
    records = np.zeros(table.num_rows, types)
    for name, value in values.items():
        records[name] = value
    return records
