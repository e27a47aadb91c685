"""All specs of a repo as one value, with selectors resolved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from smartxd.objects import ObjectRef
from smartxd.spec.envelope import Object
from smartxd.spec.fields import BoxSelector, SpecModel
from smartxd.spec.kinds.bgppeer import BGPPeerSpec, PeerEnd
from smartxd.spec.kinds.bgprouter import BGPRouterSpec
from smartxd.spec.kinds.box import BoxSpec
from smartxd.spec.kinds.tracepolicy import TracePolicySpec
from smartxd.spec.kinds.tunnel import TunnelSpec


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every object of a repo by name, each dict in the order of names."""

    boxes: dict[str, Object[BoxSpec]] = field(default_factory=dict)
    tunnels: dict[str, Object[TunnelSpec]] = field(default_factory=dict)
    routers: dict[str, Object[BGPRouterSpec]] = field(default_factory=dict)
    peers: dict[str, Object[BGPPeerSpec]] = field(default_factory=dict)
    policies: dict[str, Object[TracePolicySpec]] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[Object[SpecModel]]) -> Fleet:
        """The fleet of these objects, whose references are unique."""
        by_kind: dict[str, dict[str, Any]] = {}
        for obj in sorted(objects, key=lambda o: o.ref):
            by_kind.setdefault(obj.ref.kind, {})[obj.ref.name] = obj
        return cls(
            boxes=by_kind.get("Box", {}),
            tunnels=by_kind.get("Tunnel", {}),
            routers=by_kind.get("BGPRouter", {}),
            peers=by_kind.get("BGPPeer", {}),
            policies=by_kind.get("TracePolicy", {}),
        )

    def refs(self) -> tuple[ObjectRef, ...]:
        """All objects, sorted by kind and name."""
        kinds = (self.boxes, self.tunnels, self.routers, self.peers, self.policies)
        return tuple(sorted(obj.ref for kind in kinds for obj in kind.values()))

    def select(self, selector: BoxSelector) -> tuple[str, ...]:
        """Names of the boxes that a selector chooses, sorted; names that are no box are left out."""
        if selector.names is not None:
            return tuple(sorted(set(selector.names) & self.boxes.keys()))
        wanted = (selector.match_labels or {}).items()
        return tuple(n for n, box in self.boxes.items() if wanted <= box.metadata.labels.items())

    def router_of(self, box: str) -> Object[BGPRouterSpec] | None:
        """The BGP speaker of a box, if one is declared."""
        return next((r for r in self.routers.values() if r.spec.box == box), None)

    def asn_of(self, router: Object[BGPRouterSpec]) -> int | None:
        """The AS number of a speaker: its own, or its Box's; None where neither says one."""
        box = self.boxes.get(router.spec.box)
        return router.spec.asn or (box.spec.asn if box else None)

    def router_id_of(self, router: Object[BGPRouterSpec]) -> str | None:
        """The router ID of a speaker: its own, its Box's, or the Box's loopback."""
        box = self.boxes.get(router.spec.box)
        given = router.spec.router_id or (box and (box.spec.router_id or box.spec.loopback))
        return str(given) if given else None

    def address_of(self, end: PeerEnd) -> IPv4Address | None:
        """The address of an end of a session: its own, or its box's underlay; None without such a box."""
        box = self.boxes.get(end.box)
        return end.address or (box.spec.underlay.address.ip if box else None)
