"""Whose a running part is: the keys that make it smartxd's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from smartxd.objects import ObjectRef
from smartxd.planes.frr import render
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.render.text import mark
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.state import FRRState, Inner, Part, Router
from smartxd.planes.frr.words import Path, part_of, read

_MARKED = ("neighbor ", "prefix-list ", "route-map ")
"""Parts that bear a mark in a description."""


@dataclass(frozen=True)
class Ownership:
    """The inventory, and the marks of a running configuration."""

    running: Configuration
    inventory: Mapping[str, ObjectRef]

    @cached_property
    def _has_router(self) -> bool:
        """Whether the inventory has a section, be it the one that is there or not."""
        return any(id.startswith("router bgp ") for id in self.inventory)

    @cached_property
    def is_lost(self) -> bool:
        """Whether the inventory was lost as a whole: something that runs bears a mark of smartxd's."""
        marked = (self.mark(id) is not None for id in self.running.parts if id.startswith(_MARKED))
        return not self.inventory and any(marked)

    def mark(self, id: str) -> ObjectRef | None:
        """The owner that the description of a running part names; None where it bears no mark."""
        for path in self.running.parts.get(id, ()):
            found = read(path)
            if found is not None and found.field.endswith("description"):
                owner = mark(found.value)
                if owner is not None:
                    return owner
        return None

    def owns(self, id: str) -> bool:
        """Whether a part is there and its keys agree."""
        owner, section = self.inventory.get(id), self.running.section
        if owner is None or id not in self.running.parts:
            return False
        if id.startswith(_MARKED):
            return self.mark(id) == owner
        if not _inner(id):
            return True
        # One key only: in a section that has taken the place of ours, nothing is ours.
        return section is not None and (section.id in self.inventory or not self._has_router)

    def adopts(self, part: Part, have: frozenset[Path], want: tuple[Path, ...], *, lost: bool) -> bool:
        """Whether a part that lacks a key is ours all the same, or may be taken over.

        In the inventory and nothing but the first line that we write: made by a batch that was cut off before
        the mark. Marked for this very object but unknown to the inventory: from a life before. Just as the
        spec says, where that is enough: the inventory is ``lost``, or the spec lets it be taken over.
        """
        if self.inventory.get(part.id) == part.owner:
            return have == {want[0]}
        if part.id.startswith(_MARKED) and self.mark(part.id) == part.owner:
            return part.id not in self.inventory
        return lost and _words(have) == _words(frozenset(want))

    def foreign_lines(self) -> tuple[Path, ...]:
        """What others have put into the section."""
        section = self.running.section
        if section is None:
            return ()
        return tuple(p for p in section.paths if (id := part_of(p)) is None or not self._ours(id, section.id))

    def _ours(self, id: str, section: str) -> bool:
        return id == section or self.owns(id)

    def adopts_section(self, desired: FRRState, context: Context) -> bool:
        """Whether the section was made by smartxd, though the inventory, lost as a whole, does not say so."""
        section, router = self.running.section, desired.router
        if self.inventory or section is None or router is None or section.asn != router.asn:
            return False
        wanted = {
            path
            for part in desired.parts
            if isinstance(part, Router | Inner)
            for path in render.lines(part, context)
        }
        marked = {id for id in self.running.parts if id.startswith("neighbor ") and self.mark(id)}
        return bool(marked) and all(p in wanted or part_of(p) in marked for p in section.paths)


def _inner(id: str) -> bool:
    return id.startswith(("network ", "redistribute ", "vni "))


def _words(paths: frozenset[Path]) -> frozenset[Path]:
    """The lines without descriptions: a mark is no difference."""
    return frozenset(
        p for p in paths if (found := read(p)) is None or not found.field.endswith("description")
    )
