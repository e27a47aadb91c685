"""Lists and maps: no entry in the shadow of another."""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.kinds.routemap import Match, RouteMapSpec, Set

SHADOWED = Rule(
    "SX502",
    "shadowed-entry",
    "Every entry of a list or map can match something that no earlier entry takes.",
    "Entries are tried in order and the first that matches decides, so this one never does. Mostly the more"
    " special one was meant to stand first.",
    severity=Severity.WARNING,
)

# "." is none of them: it does not match the empty path of the AS's own routes.
_ALL_PATHS = frozenset({".*", "^.*$", "^.*", ".*$"})


def prefix_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of a prefix list is within an earlier one, by prefix and length."""
    for obj in fleet.prefix_lists.values():
        # By the length of their prefixes, as whole numbers: making a network for each look-up costs seconds.
        earlier: dict[int, dict[int, _Lengths]] = {}
        for i, entry in enumerate(obj.spec.entries):
            low, high = entry.lengths
            bits, own = int(entry.prefix.network_address), entry.prefix.prefixlen
            spare = entry.prefix.max_prefixlen
            above = (known.get(bits >> (spare - n)) for n, known in earlier.items() if n <= own)
            seen = (lengths.within(low, high) for lengths in above if lengths is not None)
            found = next((k for k in seen if k is not None), None)
            if found is not None:
                yield _shadow(obj, i, found)
            else:
                known = earlier.setdefault(own, {})
                known.setdefault(bits >> (spare - own), _Lengths()).add(low, high, i)


class _Lengths:
    """The ranges of lengths that entries of one prefix take."""

    def __init__(self) -> None:
        self._most: dict[int, tuple[int, int]] = {}
        """By the least length: how far ranges from there or from before reach, and the entry of it."""

    def within(self, low: int, high: int) -> int | None:
        """The entry that takes all lengths of a range."""
        last, index = self._most.get(low, (-1, -1))
        return index if high <= last else None

    def add(self, low: int, high: int, index: int) -> None:
        """Note that an entry takes these lengths."""
        for length in range(low, high + 1):
            if self._most.get(length, (-1, -1))[0] < high:
                self._most[length] = (high, index)


def other_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of another list says what an earlier one says, and none stands behind one that takes all."""
    lists: tuple[Object[Any], ...] = (*fleet.community_lists.values(), *fleet.as_path_lists.values())
    for obj in lists:
        known: dict[object, int] = {}
        everything: int | None = None
        for i, entry in enumerate(obj.spec.entries):
            communities = frozenset(getattr(entry, "communities", ()))
            found = known.setdefault((communities, entry.regex), i) if everything is None else everything
            if found != i:
                yield _shadow(obj, i, found)
            if everything is None and entry.regex in _ALL_PATHS:
                everything = i


def map_entries_are_reached(fleet: Fleet) -> Iterator[Finding]:
    """No entry of a map stands behind one that takes at least its routes, unless ``onMatch`` leads to it."""
    for obj in fleet.route_maps.values():
        entries = obj.spec.entries
        takers: dict[_Conditions, int] = {}
        stops = _stops(obj)
        for i, entry in enumerate(entries):
            conditions = _conditions(entry.match)
            fewer = (takers.get(some) for some in _parts(conditions))
            found = min((k for k in fewer if k is not None and stops(k, i)), default=None)
            if found is not None:
                yield _shadow(obj, i, found)
                if not _conditions(entries[found].match):
                    break  # so are all that follow
            elif entry.call is None and entry.on_match is None:
                takers[conditions] = i


_Conditions = frozenset[tuple[str, object]]


def _conditions(match: Match) -> _Conditions:
    return frozenset((name, value) for name, value in match if value not in (None, False))


def _parts(conditions: _Conditions) -> Iterator[_Conditions]:
    """All sets of some of the conditions: each matches at least the same routes."""
    return (frozenset(some) for n in range(len(conditions) + 1) for some in combinations(conditions, n))


def _stops(obj: Object[RouteMapSpec]) -> Callable[[int, int], bool]:
    """Whether what a later entry of a map matches has come by an earlier one that takes it, unchanged."""
    entries = obj.spec.entries
    jumps = [(i, entry.on_match) for i, entry in enumerate(entries) if isinstance(entry.on_match, int)]
    going_on = (i for i, entry in enumerate(entries) if entry.on_match is not None)
    changing = [i for i in going_on if entries[i].set != Set() or entries[i].call is not None]

    def stops(taker: int, index: int) -> bool:
        after, last = entries[taker].seq, entries[index].seq
        if any(start < taker and after < target <= last for start, target in jumps):
            return False
        changed = bisect(changing, taker) < bisect_left(changing, index)
        return not changed or not _conditions(entries[taker].match)

    return stops


def _shadow(obj: Object[Any], index: int, by: int) -> Finding:
    at: Location = obj.at("entries", by)
    entries = obj.spec.entries
    message = f"seq {entries[index].seq} is never reached: seq {entries[by].seq} ({at}) takes all of it"
    return obj.finding(SHADOWED, ("entries", index), message, other=at)


RULES: tuple[Rule, ...] = (SHADOWED,)
CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    prefix_entries_are_reached,
    other_entries_are_reached,
    map_entries_are_reached,
)
WHOLE_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = ()
