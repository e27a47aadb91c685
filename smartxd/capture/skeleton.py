"""What is kept of a frame where addresses are hidden: pure, a header at a time of all frames at once.

Nothing is taken out of a frame. Its headers are written anew, of fields that hold no address and from which
none can be worked out; whatever else is in it, known or not, is zero or not there. So there are

- no checksums, which tell the bits that are hidden, and no flow labels, which may be a hash of the addresses
  (RFC 6437, appendix A);
- no options, of extension headers their types and lengths alone, and no payload;
- of Ethernet's addresses one bit: whether a frame is for a group. 02:42:0a:00:00:01 may be that of 10.0.0.1,
  and an IPv6 address may end in that of its interface (RFC 4291, appendix A).

A header that is not all there, or that cannot be, is left out, and so is all that follows it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smartxd.capture.layout import HAS_IP4, HAS_IP6, HAS_VNI

Records = npt.NDArray[np.void]
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

_ETHERNET_BYTES, _TAG_BYTES, _TAGS_MAX = 14, 4, 3
_GROUP = 1
_IP4, _ARP, _TAGS, _IP6 = 0x0800, 0x0806, (0x8100, 0x88A8), 0x86DD
_FRAGMENT, _AUTH = 44, 51
_EXTENSIONS, _EXTENSIONS_MAX = (0, 43, _FRAGMENT, _AUTH, 60), 8
_TCP, _UDP = 6, 17

_TRANSPORTS: dict[int, tuple[int, tuple[int, ...]]] = {
    1: (8, (0, 1)),
    _TCP: (20, (*range(16), 18, 19)),
    _UDP: (8, tuple(range(6))),
    47: (4, tuple(range(4))),
    58: (4, (0, 1)),
    132: (12, tuple(range(8))),
}
"""By protocol: bytes of the header, and those that are kept. Of ICMP type and code: a redirect has an address
behind them. GRE's flags and protocol; SCTP's ports and tag."""


def skeletons(frames: pa.BinaryArray, keys: Records, is_gso: npt.NDArray[np.bool_]) -> pa.BinaryArray:
    """The first bytes of frames, at most as many each as were given.

    ``keys`` are those of the frames (``layout.FLOW_KEY``), with what stands for the addresses in their place.
    """
    _, ends, data = frames.buffers()
    starts = np.frombuffer(ends, "i4", len(frames) + 1, 4 * frames.offset).astype("i8")
    sketch = _Sketch(np.frombuffer(data or b"", "u1")[starts[0] : starts[-1]], starts - starts[0], is_gso)
    rows = _network(sketch, np.arange(len(frames)), keys["outer"])
    rows = sketch.whole(rows[keys["has"][rows] & HAS_VNI > 0], 8)
    sketch.keep(rows, (0, 4, 5, 6))
    sketch.at[rows] += 8
    _network(sketch, rows, keys["inner"])
    return sketch.done()


class _Sketch:
    """Frames one after the other, what is kept of them, and where in each the next step looks."""

    def __init__(self, taken: Bytes, starts: Numbers, is_gso: npt.NDArray[np.bool_]) -> None:
        self.taken = taken
        self.kept = np.zeros_like(taken)
        self.starts = starts
        self.at = starts[:-1].copy()
        self.end = starts[1:].copy()
        self.is_gso = is_gso

    def whole(self, rows: Numbers, size: int) -> Numbers:
        """Those that have so many bytes more."""
        return rows[self.at[rows] + size <= self.end[rows]]

    def byte(self, rows: Numbers, offset: int) -> Numbers:
        return self.taken[self.at[rows] + offset].astype("i8")

    def half(self, rows: Numbers, offset: int) -> Numbers:
        return self.byte(rows, offset) << 8 | self.byte(rows, offset + 1)

    def keep(self, rows: Numbers, offsets: Iterable[int]) -> None:
        places = self.at[rows][:, None] + np.fromiter(offsets, "i8")
        self.kept[places] = self.taken[places]

    def put(self, rows: Numbers, offset: int, values: Bytes) -> None:
        """So many bytes as a row of ``values`` has, which is for all frames."""
        self.kept[self.at[rows][:, None] + offset + np.arange(values.shape[1])] = values[rows]

    def bound(self, rows: Numbers, lengths: Numbers) -> None:
        """A packet ends where it says: what is behind is padding. An aggregate is longer than it says."""
        ends = np.where(self.is_gso[rows], self.end[rows], self.at[rows] + lengths)
        self.end[rows] = np.minimum(self.end[rows], ends)

    def done(self) -> pa.BinaryArray:
        """What is kept, up to the place in each."""
        lengths = np.minimum(self.at, self.end) - self.starts[:-1]
        counts = np.stack([lengths, np.diff(self.starts) - lengths], axis=1)
        kept = self.kept[np.repeat(np.tile([True, False], len(lengths)), counts.ravel())]
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype("i4")
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(kept)]
        return pa.BinaryArray.from_buffers(pa.binary(), len(lengths), buffers)


def _network(s: _Sketch, rows: Numbers, layer: Records) -> Numbers:
    """From Ethernet's header to UDP's or another one; the rows that have UDP's."""
    rows, types = _ethernet(s, rows)
    has = layer["has"][rows]
    arp = s.whole(rows[types == _ARP], 8)
    s.keep(arp, range(8))  # up to the operation
    s.at[arp] += 8
    ip4, protocols4 = _ip4(s, rows[(types == _IP4) & (has & HAS_IP4 > 0)], layer)
    ip6, protocols6 = _ip6(s, rows[(types == _IP6) & (has & HAS_IP6 > 0)], layer)
    return _transport(s, np.concatenate([ip4, ip6]), np.concatenate([protocols4, protocols6]))


def _ethernet(s: _Sketch, rows: Numbers) -> tuple[Numbers, Numbers]:
    """Behind the tags; the type of what follows."""
    rows = s.whole(rows, _ETHERNET_BYTES)
    s.kept[s.at[rows]] = s.byte(rows, 0) & _GROUP
    s.at[rows] += _ETHERNET_BYTES - 2
    s.keep(rows, (0, 1))
    tagged = rows
    for _ in range(_TAGS_MAX):
        tagged = s.whole(tagged[np.isin(s.half(tagged, 0), _TAGS)], _TAG_BYTES + 2)
        s.keep(tagged, range(2, _TAG_BYTES + 2))
        s.at[tagged] += _TAG_BYTES
    types = s.half(rows, 0)
    s.at[rows] += 2
    return rows, types


def _ip4(s: _Sketch, rows: Numbers, layer: Records) -> tuple[Numbers, Numbers]:
    """The rows in which a transport header follows, and its protocol."""
    rows = s.whole(rows, 20)
    first, length = s.byte(rows, 0), s.half(rows, 2)
    header = (first & 0xF) * 4
    sound = (first >> 4 == 4) & (header >= 20) & ((length >= header) | s.is_gso[rows])
    rows, header, length = rows[sound], header[sound], length[sound]
    s.bound(rows, length)
    s.keep(rows, range(10))
    s.put(rows, 12, layer["src_ip"][:, :4])
    s.put(rows, 16, layer["dst_ip"][:, :4])
    protocols, is_first = s.byte(rows, 9), s.half(rows, 6) & 0x1FFF == 0
    s.at[rows] += header
    return rows[is_first], protocols[is_first]


def _ip6(s: _Sketch, rows: Numbers, layer: Records) -> tuple[Numbers, Numbers]:
    """The same, behind the extension headers."""
    rows = s.whole(rows, 40)
    rows = rows[s.byte(rows, 0) >> 4 == 6]
    s.bound(rows, s.half(rows, 4) + 40)
    s.keep(rows, (0, 4, 5, 6, 7))
    s.kept[s.at[rows] + 1] = s.byte(rows, 1) & 0xF0  # of the traffic class
    s.put(rows, 8, layer["src_ip"])
    s.put(rows, 24, layer["dst_ip"])
    protocols = np.zeros(len(s.at), "i8")
    protocols[rows] = s.byte(rows, 6)
    s.at[rows] += 40
    ended, going = [], rows
    for _ in range(_EXTENSIONS_MAX):
        extended = np.isin(protocols[going], _EXTENSIONS)
        ended.append(going[~extended])
        going = _extension(s, s.whole(going[extended], 8), protocols)
    ended.append(going[~np.isin(protocols[going], _EXTENSIONS)])
    found = np.concatenate(ended)
    return found, protocols[found]


def _extension(s: _Sketch, rows: Numbers, protocols: Numbers) -> Numbers:
    """Behind an extension header; the rows of which more is to come: not those of later fragments."""
    kinds, units = protocols[rows], s.byte(rows, 1)
    s.keep(rows, (0, 1))
    protocols[rows] = s.byte(rows, 0)
    is_fragment = kinds == _FRAGMENT
    s.keep(rows[is_fragment], range(2, 8))
    is_first = s.half(rows, 2) & 0xFFF8 == 0
    sizes = np.where(kinds == _AUTH, (units + 2) * 4, (units + 1) * 8)
    s.at[rows] += np.where(is_fragment, 8, sizes)
    going: Numbers = rows[~is_fragment | is_first]
    return going


def _transport(s: _Sketch, rows: Numbers, protocols: Numbers) -> Numbers:
    """Behind the transport header, where it is known; the rows with UDP's."""
    whole: dict[int, Numbers] = {}
    for protocol, (size, kept) in _TRANSPORTS.items():
        whole[protocol] = found = s.whole(rows[protocols == protocol], size)
        s.keep(found, kept)
        options = np.maximum((s.byte(found, 12) >> 4) * 4 - size, 0) if protocol == _TCP else 0
        s.at[found] += size + options
    return whole[_UDP]
