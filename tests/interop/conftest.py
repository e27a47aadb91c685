"""A box with FRR and smartxd's plane, on a wire with a speaker of another make."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from smartxd.objects import ObjectRef
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import (
    FRRState,
    Neighbor,
    NeighborFamily,
    Network,
    Part,
    Router,
)
from tests.frr.conftest import Book, Instance, run
from tests.interop.speakers import MAKES, Heard, Session, Speaker, until

ROUTER, PEER = ObjectRef("BGPRouter", "box"), ObjectRef("BGPPeer", "outside")
SESSIONS = {4: Session("192.0.2.2", "192.0.2.1"), 6: Session("2001:db8::2", "2001:db8::1")}
OWN = {4: ("10.1.0.1/32", "10.1.0.2/32"), 6: ("2001:db8:1::1/128", "2001:db8:1::2/128")}
"""What the box announces: its addresses on the loopback."""
THEIRS = {4: ("10.2.0.0/24", "10.2.1.0/24"), 6: ("2001:db8:2::/48", "2001:db8:3::/48")}
DAEMONS = ("zebra", "staticd", "bgpd", "bfdd")


def parts(neighbor: Neighbor, *policy: Part) -> tuple[Part, ...]:
    """What the box is told: its speaker, what that announces, and one session."""
    version = 6 if ":" in neighbor.name else 4
    networks = (Network(ROUTER, prefix, 65001) for prefix in OWN[version])
    families = ("ipv4", "ipv6") if version == 6 else ("ipv4",)
    router = Router(ROUTER, 65001, "10.1.0.1", families=families)
    return (*policy, router, *networks, neighbor)


def neighbor(session: Session, *, bfd_profile: str = "", **family: Any) -> Neighbor:
    """The box's end of a session, soon tried again; ``family`` says what it does in its family."""
    return Neighbor(
        PEER,
        session.address,
        session.box_asn,
        session.asn,
        connect_retry_s=1,
        secret="outside" if session.password else "",
        bfd_profile=bfd_profile,
        families=(NeighborFamily(f"ipv{session.family}", **family),),
    )


@dataclass
class Wire:
    """The two ends."""

    box: Instance
    book: Book
    peer: str
    folder: Path

    def converge(self, *wanted: Part) -> None:
        """The box is as it is told, and a second look finds nothing to do."""
        state = FRRState(wanted)
        assert [r.problem for r in self.book.converge(state) if r.problem] == []
        again = self.book.plan(state)
        assert (again.actions, again.problems) == ((), ())

    def secret(self, password: str) -> None:
        """The password that the box uses."""
        file = self.folder / "secrets" / "outside"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(password + "\n")

    @contextlib.contextmanager
    def speaker(self, make: type[Speaker], session: Session) -> Iterator[Speaker]:
        """A speaker at the other end."""
        speaker = make(self.peer, self.folder)
        with speaker.speaking(session):
            try:
                yield speaker
            except BaseException:
                print(self.box.vtysh(f"show bgp neighbors {session.address}", "show running-config"))
                raise

    def frr(self, *command: str) -> Any:
        """What FRR says as JSON."""
        return json.loads(self.box.vtysh(*command))

    def session(self, address: str) -> dict[str, Any]:
        """What FRR says of a neighbour."""
        found: dict[str, Any] = self.frr(f"show bgp neighbors {address} json")[address]
        return found

    def established(self, address: str) -> bool:
        """Whether the session is up."""
        return bool(self.session(address)["bgpState"] == "Established")

    def drops(self, session: Session) -> int:
        """How often the session went down."""
        return int(self.session(session.address)["connectionsDropped"])

    def clear(self, session: Session) -> None:
        """Start the session anew, as an operator would who has changed what counts from its start."""
        self.box.vtysh(f"clear bgp {session.address}")

    def routes(self, session: Session) -> set[str]:
        """The prefixes that FRR has of the speaker."""
        table = self.frr(f"show bgp ipv{session.family} unicast json").get("routes", {})
        return {prefix for prefix, paths in table.items() if session.address in {p["peerId"] for p in paths}}

    def attributes(self, prefix: str, family: int) -> dict[str, Any]:
        """What FRR has as attributes of a prefix."""
        found: dict[str, Any] = self.frr(f"show bgp ipv{family} unicast {prefix} json")["paths"][0]
        return found

    def until_both_ways(self, speaker: Speaker, session: Session) -> dict[str, Heard]:
        """Wait until each end has what the other announces; what the speaker has heard."""
        until("the session is up", lambda: self.established(session.address))
        until("FRR hears all", lambda: self.routes(session) == set(session.announce))
        own = set(OWN[session.family])
        until("the speaker hears all", lambda: set(speaker.heard(session)) == own)
        return speaker.heard(session)

    def cut(self, *, mend: bool = False) -> None:
        """Part the two, or join them again, so that neither loses its carrier."""
        run(*_inside(self.peer), "link", "set", "port", *(("master", "wan") if mend else ("nomaster",)))

    def refused_passwords(self) -> int:
        """How many segments the box's kernel has dropped for want of the right TCP MD5 signature."""
        counters = Path(f"/proc/{self.box.pid('bgpd')}/net/netstat").read_text().split("\n")
        names, values = (line.split() for line in counters[:2])
        told = dict(zip(names, values, strict=True))
        return sum(int(told[name]) for name in ("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"))


def _inside(name: str) -> tuple[str, ...]:
    return "nsenter", f"--net=/run/netns/{name}", "ip"


@pytest.fixture(params=MAKES, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> type[Speaker]:
    """Each make in turn."""
    found: type[Speaker] = request.param
    return found


@pytest.fixture(params=(4, 6), ids=("ipv4", "ipv6"))
def session(request: pytest.FixtureRequest) -> Session:
    """A session over each family, in which the speaker announces prefixes of it."""
    return replace(SESSIONS[request.param], announce=THEIRS[request.param])


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """A box and the place of a speaker: .1 and .2 of 192.0.2.0/24 and 2001:db8::/64."""
    run_id = secrets.token_hex(3)
    box, peer = Instance(f"sxi{run_id}b"), f"sxi{run_id}p"
    try:
        for name in (box.name, peer):
            run("ip", "netns", "add", name)
            run(*_inside(name), "link", "set", "lo", "up")
        # The speaker's end is a port of a bridge: out of it, the path is cut and each link still up.
        run(*_inside(box.name), "link", "add", "wan", "type", "veth", "peer", "name", "port", "netns", peer)
        run(*_inside(peer), "link", "add", "wan", "type", "bridge")
        run(*_inside(peer), "link", "set", "port", "master", "wan", "up")
        for name, session in ((box.name, 1), (peer, 2)):
            run(*_inside(name), "address", "add", f"192.0.2.{session}/24", "dev", "wan")
            run(*_inside(name), "address", "add", f"2001:db8::{session}/64", "dev", "wan", "nodad")
            run(*_inside(name), "link", "set", "wan", "up")
        for prefix in (*OWN[4], *OWN[6]):
            run(*_inside(box.name), "address", "add", prefix, "dev", "lo")
        box.start(daemons=DAEMONS)
        # FRR waits 5 s before it uses a map that has changed; a test need not.
        box.configure("bgp route-map delay-timer 1\n")
        yield Wire(box, Book(FRRPlane(box.config, tmp_path / "secrets")), peer, tmp_path)
    finally:
        box.stop()
        for name in (box.name, peer):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=60, check=False)
