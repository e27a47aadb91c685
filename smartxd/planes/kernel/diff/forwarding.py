"""Forwarding on links of others."""

from __future__ import annotations

from dataclasses import dataclass

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.diff.scene import Scene, action
from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.state import Forwarding
from smartxd.reconcile.plan import Action, Problem, Verb


@dataclass
class Forwardings:
    """Turns forwarding on where it is off, and off again where smartxd turned it on."""

    scene: Scene

    def plan(self) -> None:
        """Plan what is wanted. Where it is on by another's hand it serves as well, and stays that hand's."""
        scene = self.scene
        for want in sorted(scene.desired.forwarding, key=lambda f: (f.link, f.family)):
            have = scene.observed.links.get(want.link)
            if have is None or not scene.there(want.link):
                scene.waits(want.owner, want.id, want.link)
            elif not scene.observed.routes_ipv6 and want.family == "ipv6":
                scene.problems.append(not_routed(want.owner, want.link))
            elif not _on(have, want.family):
                scene.actions.append(action(Verb.CREATE, None, want))
            elif want.id in scene.recorded and (changes := scene.entry(want.id, want.owner)):
                scene.actions.append(action(Verb.UPDATE, want, want, changes))

    def deletions(self) -> list[Action]:
        """What smartxd turned on, is on, and is wanted no more; not of a link that the state holds itself."""
        scene = self.scene
        gone = []
        for family in ("ipv4", "ipv6"):
            for id, owner in scene.unwanted(family):
                link = id.removeprefix("forwarding dev ")
                have = scene.observed.links.get(link)
                if have is None or link in scene.wanted or scene.perishes(link):
                    continue
                if _on(have, family):
                    gone.append(action(Verb.DELETE, Forwarding(owner, link, family), None))
        return gone


def not_routed(owner: ObjectRef, link: str) -> Problem:
    """That the kernel routes no IPv6 on a link, whatever the link says."""
    text = (
        f"link {link} is to route IPv6, which this kernel (before 6.17) does for the whole box or not at all"
    )
    hint = (
        "`sysctl net.ipv6.conf.all.forwarding=1`, with accept_ra=2 on links that need router advertisements"
    )
    return Problem(owner, "IPv6NotRouted", f"{text}: {hint}")


def _on(link: ObservedLink, family: str) -> bool:
    return link.forwarding4 if family == "ipv4" else link.forwarding6
