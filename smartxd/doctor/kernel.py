"""What the kernel can do: BPF for tracers, kinds of links, settings."""

from __future__ import annotations

import errno
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartxd import bpfsys
from smartxd.config import Config
from smartxd.doctor.finding import Finding, Verdict, judged
from smartxd.doctor.needs import Needs
from smartxd.errors import PlaneError
from smartxd.planes.kernel import capabilities as links
from smartxd.planes.trace import capabilities as bpf
from smartxd.spec.pcap import LibpcapMissing, compiled

_OLDEST = (5, 15)
_TRACING = "tracers"
_ROOT = "run smartxctl doctor as root"
_LINKS = {
    "bridge": ("virtual switches", "a kernel with CONFIG_BRIDGE"),
    "vxlan": ("tunnels", "a kernel with CONFIG_VXLAN"),
    "vlan filtering": ("VLAN-aware Bridges", "a kernel with CONFIG_BRIDGE_VLAN_FILTERING"),
    "802.1q": ("gateways in a VLAN of a Bridge", "a kernel with CONFIG_VLAN_8021Q"),
    "vrf": ("VRFs, which no spec of this release asks for", "a kernel with CONFIG_NET_VRF"),
}
_DROPS = "drop reasons"
_BPF = {
    "bpf": (_TRACING, "a kernel with CONFIG_BPF_SYSCALL, NET_CLS_BPF and NET_CLS_ACT"),
    "tcx": ("links of tracers that end with their pins", "Linux 6.6 or later; until then clsact serves"),
    "ring buffer": ("packets mode of tracers", "Linux 5.8 or later"),
    "batch map operations": ("draining flows", "Linux 5.6 or later"),
    _DROPS: ("drops mode of tracers", "Linux 5.17 or later with CONFIG_DEBUG_INFO_BTF"),
}
_SPARED = frozenset({"tcx", "ring buffer"})
"""What tracers of flows do without."""


@dataclass(frozen=True, slots=True)
class KernelLooks:
    """Looks at the running kernel; files are below ``root``."""

    config: Config
    needs: Needs
    root: Path = Path("/")

    @property
    def traces(self) -> bool:
        """Whether the box's specs ask for tracers."""
        return bool(self.needs.traced)

    def version(self) -> Iterator[Finding]:
        """The kernel's release."""
        release = platform.release()
        numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdecimal())
        old = f"Linux {release}" if numbers < _OLDEST else ""
        yield judged(
            "kernel", old, f"Linux {release}", "all of smartxd", "Linux 5.15 or later, best 6.6", needed=True
        )

    def bpf(self) -> Iterator[Finding]:
        """What bpf(2) does when it is asked."""
        for name, refused in bpf.probe().items():
            purpose, advice = _BPF[name]
            if refused is not None and refused.errno in (errno.EPERM, errno.EACCES):
                yield Finding(name, Verdict.WARNING, f"not looked at: {refused.strerror}", purpose, _ROOT)
                continue
            wrong = "" if refused is None else refused.strerror or str(refused)
            needed = self.needs.drops if name == _DROPS else self.traces and name not in _SPARED
            yield judged(name, wrong, "works", purpose, advice, needed=needed)

    def files(self) -> Iterator[Finding]:
        """What tracers read and pin under /sys."""
        btf = self.root / "sys/kernel/btf/vmlinux"
        yield judged(
            "btf",
            "" if btf.exists() else f"no {btf}",
            "the kernel tells the layout of its structures",
            "drops and tcp modes of tracers",
            "a kernel with CONFIG_DEBUG_INFO_BTF",
        )
        places = [self.root / "sys/kernel/tracing", self.root / "sys/kernel/debug/tracing"]
        mounted = any((place / "events").is_dir() for place in places)
        yield judged(
            "tracefs",
            "" if mounted else "not mounted",
            "mounted",
            "tcp mode of tracers",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        )

    def bpffs(self) -> Iterator[Finding]:
        """The file system in which tracers are pinned."""
        place = next(p for p in (self.config.bpffs_dir, *self.config.bpffs_dir.parents) if p.exists())
        advice = "mount -t bpf bpf /sys/fs/bpf, and add it to /etc/fstab; smartxd mounts it too"
        wrong = "" if bpfsys.is_bpffs(place) else f"{self.config.bpffs_dir} is not on a bpffs"
        right = f"{self.config.bpffs_dir} is on a bpffs"
        yield judged("bpffs", wrong, right, _TRACING, advice, needed=self.traces)

    def build(self) -> Iterator[Finding]:
        """What builds the tracers' programs."""
        for check, right, look in (
            ("bcc", "IO Visor's bcc {}", bpf.bcc_version),
            ("headers", "linux-libc-dev is there", bpf.check_headers),
        ):
            wrong = advice = said = ""
            try:
                said = str(look())
            except PlaneError as err:
                wrong, advice = err.message, err.hint
            yield judged(check, wrong, right.format(said), _TRACING, advice, needed=self.traces)
        missing = ""
        try:
            compiled("ip")
        except LibpcapMissing as err:
            missing = str(err)
        yield judged(
            "libpcap",
            missing,
            "1.9 or later",
            "filters of tracers",
            "apt-get install libpcap0.8",
            needed=True,
        )

    def links(self) -> Iterator[Finding]:
        """Kinds of links, made in network namespaces that go at once."""
        try:
            refusals = links.link_kinds()
        except OSError as err:
            yield Finding("links", Verdict.WARNING, f"not looked at: {err.strerror}", "all links", _ROOT)
            return
        for kind, refused in refusals.items():
            purpose, advice = _LINKS[kind]
            yield judged(kind, refused, "works", purpose, advice, needed=kind in self.needs.links)

    def forwarding(self) -> Iterator[Finding]:
        """How IPv6 can be forwarded on some links only."""
        conf = self.root / "proc/sys/net/ipv6/conf/all"
        everywhere = _number(conf / "forwarding") == 1
        forced = (conf / "force_forwarding").exists()
        yield judged(
            "force_forwarding",
            ""
            if forced or everywhere
            else "this kernel forwards IPv6 on all links or on none, and it is off",
            "IPv6 is forwarded link by link" if forced else "net.ipv6.conf.all.forwarding is 1",
            "IPv6 through a box",
            "sysctl -w net.ipv6.conf.all.forwarding=1 (Linux before 6.17)",
            needed=self.needs.forwards6,
        )

    def memberships(self) -> Iterator[Finding]:
        """How many multicast groups the kernel lets a socket join."""
        most = _number(self.root / "proc/sys/net/ipv4/igmp_max_memberships")
        asked = self.needs.groups
        if most is None:
            return
        yield judged(
            "igmp_max_memberships",
            f"{most}, and tunnels ask for {asked} groups" if asked > most else "",
            f"{most}, tunnels ask for {asked}",
            "tunnels that flood by multicast",
            f"sysctl -w net.ipv4.igmp_max_memberships={max(asked, 2 * most)}, also in /etc/sysctl.d",
            needed=True,
        )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
