"""Links of somebody else's as ports of bridges."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from smartxd.planes.kernel.diff.compare import disruption, port_settings, settings
from smartxd.planes.kernel.diff.scene import Scene, action
from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.state import MARK_PREFIX, Plug, PortRule, Vxlan
from smartxd.reconcile.plan import Action, Change, Disruption, Verb


@dataclass
class Ports:
    """Plugs in what rules name and is there, and unplugs what smartxd has plugged in and no rule names."""

    scene: Scene
    _ruled: dict[str, PortRule] = field(default_factory=dict)
    """The rule for each link that one speaks of."""

    def __post_init__(self) -> None:
        # Of two rules for one link it is always the same that has it.
        self._rules = sorted(self.scene.desired.ports, key=repr)
        matchers = [(rule, _matcher(rule.patterns)) for rule in self._rules]
        for link in self.scene.observed.links.values() if matchers else ():
            if not self._pluggable(link):
                continue
            for rule, matches in matchers:
                if rule.namespace in (None, link.peer_namespace) and matches.fullmatch(link.name):
                    self._ruled[link.name] = rule
                    break

    def _pluggable(self, link: ObservedLink) -> bool:
        """Whether the link is somebody else's and of a kind that rules speak of."""
        ours = link.name in self.scene.wanted or link.newborn or link.alias.startswith(MARK_PREFIX)
        return not ours and link.bridge is None and link.name != "lo"

    def _plugged(self) -> list[Plug]:
        """What the inventory has and is still so."""
        found = []
        for port, owner in self.scene.unwanted("port"):
            name, _, bridge = port.partition(" in ")
            have = self.scene.observed.links.get(name)
            if have is not None and have.master == bridge:
                found.append(Plug(owner, name, bridge, port_settings(have, bridge)))
        return found

    def held(self) -> frozenset[str]:
        """The entries that are to stay in the inventory, although no desired state can name them."""
        return frozenset(plug.id for plug in self._plugged())

    def deletions(self) -> list[Action]:
        """What no rule names any more, and still is where smartxd plugged it in."""
        links = self.scene.observed.links
        return [
            action(Verb.DELETE, plug, None)
            for plug in self._plugged()
            if plug.link not in self._ruled and self._pluggable(links[plug.link])
        ]

    def plan(self) -> None:
        """Plug in what rules name; the bridges have been planned before."""
        unfit = set()
        for rule in self._rules:
            what = f"ports {', '.join(rule.patterns)}"
            if not self.scene.plugs_in(rule.owner, what, rule.bridge, rule.settings):
                unfit.add(rule)
        underlay = {link.underlay for link in self.scene.desired.links if isinstance(link, Vxlan)}
        for name, rule in sorted(self._ruled.items()):
            if rule not in unfit:
                self._plug(rule, self.scene.observed.links[name], underlay)

    def _plug(self, rule: PortRule, have: ObservedLink, underlay: set[str]) -> None:
        scene = self.scene
        want = Plug(rule.owner, have.name, rule.bridge, rule.settings)
        if have.name in underlay:
            text = f"{want.id}: tunnels run over it, which as a port it could not carry"
            scene.problem(rule.owner, "PortIsUnderlay", text, "correct the pattern", permanent=True)
            return
        aware = scene.aware(rule.bridge)
        master = scene.master(have)
        now = port_settings(have, rule.bridge if have.master == master else "")
        old = Plug(rule.owner, have.name, master, port_settings(have, have.master)) if master else None
        changes = tuple(settings(now, rule.settings, aware=aware))
        if old is None:
            moved = Disruption.FLAP if have.master else Disruption.NONE
            scene.actions.append(action(Verb.CREATE, None, want, disruption=moved))
        elif master == rule.bridge:
            # Plugged in by hand and just as the rule says, it stays the hand's.
            if changes or want.id in scene.recorded:
                changes += scene.entry(want.id, want.owner)
            if changes:
                effect = disruption(changes, moved=False)
                scene.actions.append(action(Verb.UPDATE, old, want, changes, effect))
        elif old.id in scene.recorded:
            changes = (Change("bridge", master, rule.bridge), *changes)
            scene.actions.append(action(Verb.UPDATE, old, want, changes, Disruption.FLAP))
        else:
            text = f"{want.id}: it is a port of {master}, where somebody else has plugged it in"
            hint = f"`ip link set dev {have.name} nomaster`, or correct the pattern"
            scene.problem(rule.owner, "ForeignObject", text, hint, permanent=True)


@lru_cache(maxsize=1 << 10)
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Of names that one of the patterns matches: ``*`` stands for any characters, ``?`` for one."""
    wild = {"*": ".*", "?": "."}
    # Names are at most 15 characters long, so that no pattern takes long.
    return re.compile("|".join("".join(wild.get(c, re.escape(c)) for c in p) for p in patterns), re.DOTALL)
