"""What should be traced and what is, as plain data: blueprints. How it is attached is decided on applying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smartxd.objects import ObjectRef, OwnedObject
from smartxd.planes.trace.filter import Filter
from smartxd.secrets import NO_SECRETS, Secrets
from smartxd.terms import Budget, Privacy, Retention, Terms

INTERFACES_MAX = 128
"""Interfaces of one policy; the ledger of a policy has room for four times as many."""

WATCHED_MAX = 4 * INTERFACES_MAX
LEDGER_MAX = 4 * WATCHED_MAX

DROPPED = "dropped"
"""Where packets are seen beside the directions: at the place in the kernel where they end."""

TCP = "tcp"
"""Where connections of the box itself are seen: by what the kernel's TCP tells of them."""


def unavailable(name: str) -> str:
    """The reason of a condition: this kernel cannot tell what programs on its tracepoints ask."""
    return f"{name.capitalize()}Unavailable"


RING_BYTES = 32 << 20
"""Of a policy's packets that wait to be stored; a power of two, which the kernel takes at once."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which of the packets that the filters let through are recorded: one skb in so many."""

    mode: Literal["count", "random", "hash"]
    one_in: int
    seed: int = 0
    """Of ``hash``: tracers of one seed choose alike."""


@dataclass(frozen=True, slots=True)
class Tracer:
    """One trace policy on this box."""

    owner: ObjectRef
    interfaces: tuple[str, ...]
    """Names, sorted."""
    directions: tuple[str, ...] = ("egress", "ingress")
    flows_max: int | None = 65536
    """Entries of each flow map: of flows of plain IPv4, and of all others and what finds no place there;
    twice. More flows in one drain interval are counted as overflow. None: flows are not recorded."""
    patterns: tuple[str, ...] = ()
    """Of names of interfaces, sorted: ``*`` stands for any characters, ``?`` for one."""
    filter: Filter | None = None
    inner_filter: Filter | None = None
    """Of the frame inside a VXLAN packet."""
    sampling: Sampling | None = None
    """None: every packet."""
    snap_length: int | Literal["headers"] | None = None
    """Bytes kept of each packet, at most 256. None: packets are not recorded."""
    drops_max: int | None = None
    """Flows of dropped packets between two drains; None: drops are not recorded."""
    tcp_max: int | None = None
    """Connections between two drains; None: what becomes of TCP connections is not recorded."""
    budget: Budget | None = None
    """What it may cost; beyond it sampling is made coarser."""
    privacy: Privacy | None = None
    retention: Retention | None = None
    active_timeout_s: int = 60
    """A flow that goes on is recorded after so long."""
    idle_timeout_s: int = 15
    """A flow has ended when no packet of it came for so long."""

    @property
    def id(self) -> str:
        """The plane's name for it."""
        return f"policy {self.owner.name}"

    @property
    def flow_entries(self) -> int:
        """Entries of the flow maps, which are there also where nothing is written to them."""
        return 1 if self.flows_max is None else self.flows_max

    @property
    def points(self) -> tuple[str, ...]:
        """Where the packets of an interface are seen."""
        passing = self.flows_max is not None or self.snap_length is not None
        told = (DROPPED, self.drops_max), (TCP, self.tcp_max)
        return (*(self.directions if passing else ()), *(p for p, most in told if most is not None))

    @property
    def probes(self) -> Mapping[str, int]:
        """The entries of the maps of programs on tracepoints, by name, of those that it needs."""
        entries = {"drops": self.drops_max, "tcp": self.tcp_max}
        return {name: most for name, most in entries.items() if most is not None}

    @property
    def terms(self) -> Terms:
        """What the capture process is told."""
        return Terms(
            *(self.sampling.one_in if self.sampling else 1, self.budget, self.privacy, self.retention),
            *(self.active_timeout_s, self.idle_timeout_s),
        )


@dataclass(frozen=True, slots=True)
class TraceState:
    """All tracers of a box, sorted by owner."""

    tracers: tuple[Tracer, ...] = ()

    def objects(self) -> frozenset[OwnedObject]:
        """Every object that the state holds, as the inventory knows it."""
        return frozenset(OwnedObject("trace", tracer.id, tracer.owner) for tracer in self.tracers)


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of this namespace."""

    ifindex: int
    ethernet: bool
    """Whether its packets start with an Ethernet header, as the program expects."""


@dataclass(frozen=True, slots=True, order=True)
class Attachment:
    """A place where a policy's program runs."""

    interface: str
    direction: str
    """``DROPPED`` or ``TCP`` where it is told of something by the kernel."""
    ifindex: int


@dataclass(frozen=True, slots=True)
class PinnedPolicy:
    """The programs and maps of a policy as they are pinned, one build of them."""

    name: str
    fingerprint: str
    """What it was built of: of the C sources, then of the selection; empty when pins are missing."""
    incarnation: str
    pin_dir: Path
    flow_entries: int
    attachments: frozenset[Attachment] = frozenset()
    """Those that run; links of interfaces that are gone are not among them."""
    ended: frozenset[Attachment] = frozenset()
    """Those that somebody has ended, on interfaces that are there."""
    retired: bool = False
    probes: Mapping[str, int] = field(default_factory=dict)
    """As of a tracer."""
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class TraceObserved:
    """What is pinned under this box's folder of bpffs, and the interfaces that could be traced."""

    fingerprint: str
    """Of the C sources as they would be built now."""
    policies: tuple[PinnedPolicy, ...] = ()
    """Sorted by name, the newest build first."""
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    secrets: Secrets = NO_SECRETS
    """Which can be used; what they are is not among it."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why this kernel cannot tell what programs on its tracepoints ask, by name, of those that it cannot."""

    def live(self, name: str) -> tuple[PinnedPolicy, ...]:
        """The builds of a policy that are not retired: one, or more after a crash in the middle."""
        return tuple(p for p in self.policies if p.name == name and not p.retired)
