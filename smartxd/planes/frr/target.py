"""The configuration that FRR should have: the running one with only our parts replaced. Pure.

Replacing the same parts in a target gives the same target, so comparing a running configuration with its own
target says what is left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from smartxd.planes.frr import render
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import Configuration, Node
from smartxd.planes.frr.state import Inner, Router
from smartxd.planes.frr.words import Path, closer, opens, part_of
from smartxd.reconcile.plan import Action, Verb

NOTHING_KEPT: Mapping[str, tuple[Path, ...]] = MappingProxyType({})


def wanted(
    actions: Sequence[Action],
    running: Configuration,
    passwords: Mapping[str, str],
    kept: Mapping[str, tuple[Path, ...]] = NOTHING_KEPT,
) -> dict[str, tuple[Path, ...]]:
    """The lines of each part that ``actions`` name, in their order; of those in ``kept`` what is given there.

    What stands in a speaker's section has no lines, not even none, where that section is neither there nor
    made.
    """
    made = {a.id for a in actions if isinstance(a.new, Router) and a.id not in kept}
    section = running.section
    there = made | ({section.id} if section is not None else set())
    # A section that is still to be made is as smartxd makes it.
    context = Context.of(running, passwords)
    context = replace(context, activates_ipv4=True) if made - {section and section.id} else context
    found: dict[str, tuple[Path, ...]] = {}
    for action in actions:
        if action.id in kept:
            found[action.id] = kept[action.id]
        elif action.verb is Verb.DELETE:
            found[action.id] = ()
        elif not isinstance(action.new, Inner) or f"router bgp {action.new.asn}" in there:
            found[action.id] = render.lines(action.new, context)
    return found


def target(running: Configuration, wanted: Mapping[str, tuple[Path, ...]]) -> Configuration:
    """``running`` with the lines of each part in ``wanted`` replaced by those given, none to remove it."""
    nodes = _strip(running.nodes, wanted)
    added = _Lines()
    for paths in wanted.values():
        for path in paths:
            added.add(path)
    return Configuration(added.into(nodes), running.version)


def only(configuration: Configuration, ids: Collection[str]) -> Configuration:
    """The configuration with the lines of the parts ``ids`` and no others, but the headers they stand in."""
    kept = _Lines()
    for path in configuration.paths:
        if part_of(path) in ids:
            kept.add(path)
    return Configuration(kept.into(()), configuration.version)


def _strip(nodes: tuple[Node, ...], ids: Collection[str], above: Path = ()) -> tuple[Node, ...]:
    """The nodes without the statements of the parts ``ids``, at any depth.

    A section goes with its header, unless something is left in it that is of another part.
    """
    kept: list[Node] = []
    for node in nodes:
        if node.is_comment:
            kept.append(node)
            continue
        path = (*above, node.statement)
        children = _strip(node.children, ids, path) if node.children else ()
        goes = part_of(path) in ids or (node.is_container and children != node.children)
        if goes and not any(_says(child) for child in children):
            continue
        kept.append(replace(node, children=children) if children != node.children else node)
    return tuple(kept)


def _says(node: Node) -> bool:
    """Whether anything is said in a node."""
    return not node.is_comment and (not node.is_container or any(_says(child) for child in node.children))


@dataclass
class _Lines:
    """Statements to be added to a section: those of its own, and those of the sections within it."""

    own: dict[str, None] = field(default_factory=dict)
    sections: dict[str, _Lines] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Add a statement; one that opens a section of ours is the section without statements."""
        here = self
        for header in path[:-1]:
            here = here.sections.setdefault(header, _Lines())
        if opens(path[-1]):
            here.sections.setdefault(path[-1], _Lines())
        else:
            here.own[path[-1]] = None

    def into(self, nodes: tuple[Node, ...], depth: int = 0) -> tuple[Node, ...]:
        """The nodes with the statements: own ones before the sections, new sections behind."""
        pad = " " * depth
        own = tuple(Node(f"{pad}{statement}") for statement in self.own)
        end = len(nodes)
        if depth:
            end = next((i for i, n in enumerate(nodes) if n.is_comment or n.children), len(nodes))
        rest = dict(self.sections)
        filled = [
            replace(
                node, children=lines.into(node.children, depth + 1), closer=node.closer or _end(node, pad)
            )
            if (lines := rest.pop(node.statement, None)) is not None
            else node
            for node in nodes
        ]
        made: list[Node] = []
        for header, lines in rest.items():
            made += [Node(f"{pad}{header}", lines.into((), depth + 1), f"{pad}{closer(header)}")]
            made += [Node(f"{pad}!")]
        return (*filled[:end], *own, *filled[end:], *made)


def _end(node: Node, pad: str) -> str:
    return f"{pad}{closer(node.statement)}"
