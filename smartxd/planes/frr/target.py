"""The configuration that FRR should have: the running one with only our parts replaced. Pure.

Applying the same actions to a target gives the same target, so comparing a running configuration with its
own target says what is left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from smartxd.planes.frr import render
from smartxd.planes.frr.running import IPV4_UNICAST, Configuration, Node, Path, object_of
from smartxd.planes.frr.state import Neighbor, Network, Router
from smartxd.reconcile.plan import Action, Verb


@dataclass(frozen=True, slots=True)
class Target:
    """The configuration to reach, and the actions that found no section to act in."""

    configuration: Configuration
    homeless: tuple[Action, ...] = ()


def target(running: Configuration, actions: Sequence[Action]) -> Target:
    """``running`` after ``actions``, in which nothing that they do not name differs."""
    after = running
    if running.router is not None:
        # What is wanted comes back below, in the section where it belongs.
        named = frozenset(a.id for a in actions)
        after = after.edit(running.router.id, partial(_strip, ids=named))
    for action in actions:
        if isinstance(action.old, Router) and action.verb is Verb.DELETE:
            after = _remove(after, action.old)
    for action in actions:
        if isinstance(action.new, Router):
            after = _set(after, action.new)
    section = after.router
    context = render.Context.of(section)
    paths: list[Path] = []
    homeless: list[Action] = []
    for action in actions:
        new = action.new
        if isinstance(new, Network | Neighbor):
            if section is None or section.asn != new.asn:
                homeless.append(action)
            else:
                paths += render.network(new) if isinstance(new, Network) else render.neighbor(new, context)
    if section is not None and paths:
        after = after.edit(section.id, partial(_add, paths=paths))
    return Target(after, tuple(homeless))


def _remove(configuration: Configuration, router: Router) -> Configuration:
    """Without the section, unless something that is not the section's own is left in it."""
    section = configuration.router
    if section is None or section.id != router.id or any(not render.is_setting(p) for p in section.paths):
        return configuration
    return configuration.edit(router.id, lambda _: None)


def _set(configuration: Configuration, router: Router) -> Configuration:
    """With the section and its settings; where another speaker is in its place, nothing changes."""
    wanted = tuple(Node(f" {path[-1]}") for path in render.router(router, configuration.profile))
    section = configuration.router
    if section is None:
        made = (Node(router.id, wanted, "exit"), Node("!"))
        return replace(configuration, nodes=configuration.nodes + made)
    if section.id != router.id:
        return configuration

    def change(node: Node) -> Node:
        rest = tuple(c for c in node.children if not render.is_setting((c.statement,)))
        return replace(node, children=wanted + rest)

    return configuration.edit(router.id, change)


def _add(section: Node, paths: Sequence[Path]) -> Node:
    """The section with statements of its own and of the IPv4 unicast family behind those it has."""
    own = tuple(Node(f" {p[0]}") for p in paths if len(p) == 1)
    family = tuple(Node(f"  {p[1]}") for p in paths if p[:-1] == (IPV4_UNICAST,))
    children = section.children
    end = next((i for i, c in enumerate(children) if c.is_comment or c.children), len(children))
    children = children[:end] + own + children[end:]
    if family and not any(c.statement == IPV4_UNICAST for c in children):
        children += (Node(" !"), Node(f" {IPV4_UNICAST}", (), " exit-address-family"))
    return replace(
        section,
        children=tuple(
            replace(c, children=c.children + family) if c.statement == IPV4_UNICAST else c for c in children
        ),
    )


def _strip(section: Node, ids: frozenset[str], above: Path = ()) -> Node:
    """The section without the statements of the objects ``ids``, at any depth."""
    kept: list[Node] = []
    for child in section.children:
        path = (*above, child.statement)
        if child.is_comment or object_of(path) not in ids:
            kept.append(_strip(child, ids, path) if child.children else child)
    return replace(section, children=tuple(kept))
