"""Remove links: many at once, because the kernel waits for its readers once for a group of links.

One by one each VXLAN link or bridge costs such a wait (30 ms on an idle machine), 1,000 tunnels a minute. Of
each bridge the kernel frees the multicast database by a wait of its own (16 ms), in a group as well as alone.
"""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Iterator, Sequence

from smartxd.planes.kernel.observe import observe_link, observe_links
from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.rtnl import CHANGE, RTM_DELLINK, RTM_NEWLINK, Rtnl

FEW = 2
"""So many links are not worth a group."""

_MOST, _MOST_BRIDGES = 1024, 128
"""In one group: nobody else can change the network while it goes, and each bridge takes the kernel 16 ms."""

_GROUPS = range(0x53580000, 0x5358FFFF)
"""Link groups of which an unused one holds the links to be removed, for a moment."""

_IFINFOMSG = struct.Struct("=4xi8x")
_GROUP = struct.Struct("=HHI")
_IFLA_GROUP = 27
_GONE = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT})


class LostMarkError(Exception):
    """The link is no longer the one that the plan was made for."""


Outcome = OSError | LostMarkError | None
"""Why a link is still there; None when it is gone."""


def remove(rtnl: Rtnl, links: Sequence[ObservedLink]) -> dict[str, Outcome]:
    """Remove links that are still as they were observed: what became of each, by name.

    One that is gone already is not an error; one that was renamed, or lost its mark, is left alone.
    """
    # A newborn link is known by its own group alone: it does not leave it and live.
    marked = [link for link in links if not link.newborn]
    if len(marked) <= FEW:
        return {link.name: _remove_one(rtnl, link) for link in links}
    for group in _groups(marked):
        _remove_group(rtnl, group)
    there = {link.index for link in observe_links(rtnl).values()}
    # What the group did not take is tried alone, so that the kernel's reason is that link's own.
    return {link.name: _remove_one(rtnl, link) if link.index in there else None for link in links}


def _groups(links: Sequence[ObservedLink]) -> Iterator[Sequence[ObservedLink]]:
    """Links to be removed together, ports before their bridges."""
    bridges = [link for link in links if link.bridge is not None]
    others = [link for link in links if link.bridge is None]
    for these, most in ((others, _MOST), (bridges, _MOST_BRIDGES)):
        yield from (these[start : start + most] for start in range(0, len(these), most))


def _remove_one(rtnl: Rtnl, planned: ObservedLink) -> Outcome:
    have = observe_link(rtnl, planned.index)
    if have is None:
        return None
    if not _same(planned, have):
        return LostMarkError("it was renamed, or lost its mark, in the meantime and is left alone")
    try:
        rtnl.change(RTM_DELLINK, _IFINFOMSG.pack(have.index))
    except OSError as err:
        return None if err.errno in _GONE else err
    return None


def _same(planned: ObservedLink, have: ObservedLink) -> bool:
    """Whether it is the link of the plan; one that an interrupted removal has moved still is."""
    moved = have.group in _GROUPS and bool(have.alias)
    return (have.name, have.alias) == (planned.name, planned.alias) and (moved or have.group == planned.group)


def _remove_group(rtnl: Rtnl, links: Sequence[ObservedLink]) -> None:
    """Gather the links in a group of their own and remove that; nothing is removed if it is not theirs alone.

    Between the last look and the removal somebody could still put a link of his own into the group: he would
    have to know its number, which is chosen by chance for this one removal.
    """
    now = {link.index: link for link in observe_links(rtnl).values()}
    ours = {link.index: link for link in links if link.index in now and _same(link, now[link.index])}
    used = {link.group for link in now.values()}
    group = next(g for g in iter(lambda: random.choice(_GROUPS), None) if g not in used)
    rtnl.batch([_into_group(index, group) for index in sorted(ours)])
    gathered = [link for link in observe_links(rtnl).values() if link.group == group]
    others = [link for link in gathered if link.index not in ours or not _same(ours[link.index], link)]
    if others:
        rtnl.batch([_into_group(link.index, ours[link.index].group) for link in others if link.index in ours])
    elif gathered:
        rtnl.batch([(RTM_DELLINK, CHANGE, _IFINFOMSG.pack(0) + _group(group))])


def _into_group(index: int, group: int) -> tuple[int, int, bytes]:
    return RTM_NEWLINK, CHANGE, _IFINFOMSG.pack(index) + _group(group)


def _group(group: int) -> bytes:
    return _GROUP.pack(_GROUP.size, _IFLA_GROUP, group)
