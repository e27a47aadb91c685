"""Who else changes what smartxd makes, or takes packets before its tracers."""

from __future__ import annotations

import configparser
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smartxd.config import Config
from smartxd.doctor.finding import Finding, Verdict, judged
from smartxd.doctor.needs import Needs
from smartxd.planes.kernel.capabilities import xdp_programs
from smartxd.planes.trace.capabilities import strangers

_FOREIGN = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules", "ManageForeignNextHops")
_OFF = frozenset({"no", "false", "off", "0", "n", "f"})
_CONF_DIRS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""Each has precedence over those before it."""
_DROP_IN = "/etc/systemd/networkd.conf.d/smartxd.conf"
_ALL_MAX = 32
"""Interfaces that are looked at where no specs say which."""


@dataclass(frozen=True, slots=True)
class OtherLooks:
    """Looks at programs of others; files are below ``root``."""

    config: Config
    needs: Needs
    root: Path = Path("/")

    def programs(self) -> Iterator[Finding]:
        """Programs of others where packets of the box's interfaces pass."""
        there = {name: ifindex for ifindex, name in socket.if_nameindex()}
        traced = self.needs.traced
        looked = {n: i for n, i in there.items() if n in traced or not traced}
        looked = dict(list(looked.items())[:_ALL_MAX])
        found = [
            f"{s.interface} {s.direction}: {s.how} {s.name}" for s in strangers(looked, self.config.bpffs_dir)
        ]
        purpose, wrong = "tracers that see every packet", "; ".join(found)
        advice = "what they drop, redirect or accept first may not be seen; they are left alone"
        yield judged("other tc programs", wrong, f"none on {len(looked)} interfaces", purpose, advice)
        xdp = ", ".join(f"{n}: program {p}" for n, p in xdp_programs().items() if n in looked)
        advice = "what XDP drops or redirects never reaches a tracer"
        yield judged("other xdp programs", xdp, f"none on {len(looked)} interfaces", purpose, advice)

    def networkd(self) -> Iterator[Finding]:
        """systemd-networkd removes what it has not made (systemd #29034) unless it is told not to."""
        purpose = "routes that stay: smartxd's and FRR's"
        if not _runs(self.root, "systemd-networkd"):
            yield Finding("systemd-networkd", Verdict.OK, "does not run", purpose)
            return
        settings = _networkd_settings(self.root)
        kept = [name for name in _FOREIGN if settings.get(name.lower(), "yes").lower() not in _OFF]
        yield judged(
            "systemd-networkd",
            f"removes what others have set when it restarts ({', '.join(kept)})" if kept else "",
            "runs, and leaves alone what is not its own",
            purpose,
            f"[Network] {' '.join(f'{name}=no' for name in kept)} in {_DROP_IN}",
        )

    def network_manager(self) -> Iterator[Finding]:
        """NetworkManager configures every link that it manages, and takes away what it does not know."""
        purpose = "links that nobody else changes"
        names = self.needs.interfaces
        managed = []
        for name in sorted(names):
            with suppress(OSError):
                file = self.root / "run/NetworkManager/devices" / str(socket.if_nametoindex(name))
                if "managed=true" in file.read_text().split():
                    managed.append(name)
        runs = _runs(self.root, "NetworkManager")
        yield judged(
            "NetworkManager",
            f"manages {', '.join(managed)}" if managed and runs else "",
            "runs, and manages none of the box's links" if runs else "does not run",
            purpose,
            "[keyfile] unmanaged-devices="
            + ";".join(f"interface-name:{name}" for name in managed)
            + " in /etc/NetworkManager/conf.d/smartxd.conf",
        )

    def ifstate(self) -> Iterator[Finding]:
        """ifstate removes links that its own configuration does not have."""
        file = self.root / "etc/ifstate/config.yml"
        yield judged(
            "ifstate",
            f"{file} is there: ifstate removes links, addresses and routes that it does not name"
            if file.exists()
            else "",
            "not configured",
            "links that nobody else changes",
            "name smartxd's links under ignore: in it, or leave the network to one of the two",
        )


def _runs(root: Path, program: str) -> bool:
    """Whether a process of this name runs; the kernel keeps 15 characters of it."""
    for comm in root.glob("proc/[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text().strip() == program[:15]:
                return True
    return False


def _networkd_settings(root: Path) -> dict[str, str]:
    """The [Network] section of networkd.conf and its drop-ins, which are read by name."""
    mains = [root / folder / "networkd.conf" for folder in _CONF_DIRS]
    main = [file for file in mains if file.is_file()][-1:]
    drops = {f.name: f for folder in _CONF_DIRS for f in (root / folder / "networkd.conf.d").glob("*.conf")}
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    for file in (*main, *(drops[name] for name in sorted(drops))):
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read_string(file.read_text())
    return {k: v or "" for k, v in parser["Network"].items()} if parser.has_section("Network") else {}
