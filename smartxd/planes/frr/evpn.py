"""VNIs and MACs of EVPN from what zebra prints as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smartxd.report import MacReport, VniReport

MACS_MAX = 1024
"""Of all VNIs together: whose MACs would make more has only their number reported."""


def vnis(details: Iterable[Mapping[str, Any]]) -> tuple[VniReport, ...]:
    """The VNIs of ``show evpn vni detail json``, by number, without their MACs."""
    return tuple(sorted(map(_vni, details), key=lambda v: v.vni))


def _vni(said: Mapping[str, Any]) -> VniReport:
    vteps = said.get("numRemoteVteps")  # zebra's name for the list of them
    return VniReport(
        vni=said["vni"],
        type=str(said.get("type", "")),
        link=str(said.get("vxlanInterface", said.get("vxlanIntf", ""))),
        vrf=str(said.get("vrf", said.get("tenantVrf", ""))),
        vteps=tuple(sorted(map(str, vteps))) if isinstance(vteps, list) else (),
        macs=_count(said.get("numMacs")),
        neighbors=_count(said.get("numArpNd")),
    )


def few(found: Sequence[VniReport]) -> frozenset[int]:
    """The VNIs whose MACs are few enough to be reported, the first ones first."""
    left, chosen = MACS_MAX, set()
    for vni in found:
        if 0 < vni.macs <= left:
            left -= vni.macs
            chosen.add(vni.vni)
    return frozenset(chosen)


def entries(macs: Mapping[str, Any]) -> tuple[MacReport, ...]:
    """The MACs of ``show evpn mac vni N json``."""
    return tuple(
        MacReport(
            mac=mac, at=str(said.get("remoteVtep") or said.get("intf", "")), remote="remoteVtep" in said
        )
        for mac, said in sorted(macs.get("macs", {}).items())[:MACS_MAX]
    )


def _count(said: object) -> int:
    """A number; 0 for what FRR has no number of (``n/a``)."""
    return said if isinstance(said, int) else 0
