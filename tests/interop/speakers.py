"""BGP speakers of other makes: BIRD 2, GoBGP and ExaBGP, each in a network namespace, asked in its own way.

One says what it has heard of the box in the terms of all three: prefixes and their attributes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0
LOOK_AGAIN_S = 0.1
ROUTER_ID = "192.0.2.2"


def until(what: str, holds: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The first true value of ``holds``; fails by the name of ``what``."""
    deadline = time.monotonic() + patience_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        time.sleep(LOOK_AGAIN_S)
    return value


@dataclass(frozen=True)
class Session:
    """What a speaker is told of its session with the box, and announces in it."""

    address: str
    box: str
    asn: int = 65002
    box_asn: int = 65001
    announce: tuple[str, ...] = ()
    community: str = ""
    """Of all that it announces, as ``65002:7``."""
    password: str = ""
    bfd: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return ip_address(self.address).version


@dataclass(frozen=True)
class Heard:
    """The attributes of a prefix, as they came from the box."""

    as_path: tuple[int, ...]
    communities: frozenset[str] = frozenset()
    local_preference: int | None = None


class Speaker(ABC):
    """A speaker of one make, with one session."""

    refreshes = True
    """Whether it tells all once more when asked (RFC 2918): a new policy holds for what was told before."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder

    @abstractmethod
    def argv(self, session: Session) -> list[str]:
        """Write its configuration; the command that runs it."""

    @abstractmethod
    def received(self, session: Session) -> dict[str, Heard]:
        """What the box announces to it now, be it of use or not."""

    def heard(self, session: Session) -> dict[str, Heard]:
        """What the box announces to it now, but for what it would refuse: paths of its own AS."""
        found = self.received(session).items()
        return {prefix: heard for prefix, heard in found if session.asn not in heard.as_path}

    def announce(self, session: Session) -> None:
        """Announce what a configuration of this make has no words for."""
        return

    def tells(self, *argv: str, check: bool = True) -> str:
        """What a command prints in its namespace."""
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", *argv]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def speaking(self, session: Session) -> Iterator[None]:
        """The speaker runs; its log is shown where the test fails."""
        log = self.folder / "log"
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", *self.argv(session)]
        with (
            log.open("wb") as out,
            subprocess.Popen(
                inside,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **_EXABGP},
                start_new_session=True,
            ) as process,
        ):
            try:
                self.announce(session)
                yield
            except BaseException:
                print(f"{type(self).__name__} said:\n{log.read_text(errors='replace')[-4000:]}")
                raise
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


class Bird(Speaker):
    """BIRD 2."""

    def argv(self, session: Session) -> list[str]:
        family = f"ipv{session.family}"
        community = (
            f"bgp_community.add(({session.community.replace(':', ',')}));" if session.community else ""
        )
        lines = [
            f"router id {ROUTER_ID};",
            "log stderr all;",
            "protocol device {}",
            'protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }' if session.bfd else "",
            f"protocol static {{ {family} {{ import filter {{ {community} accept; }}; }};",
            *(f"  route {prefix} blackhole;" for prefix in session.announce),
            "}",
            f"protocol bgp box {{ local {session.address} as {session.asn};",
            f"  neighbor {session.box} as {session.box_asn};",
            "  connect delay time 1; connect retry time 2; error wait time 1, 2;",
            f'  password "{session.password}";' if session.password else "",
            "  bfd on;" if session.bfd else "",
            f"  {family} {{ import all; export where source = RTS_STATIC; }};",
            "}",
        ]
        config = self.folder / "bird.conf"
        config.write_text("\n".join(lines) + "\n")
        return ["bird", "-f", "-c", str(config), "-s", str(self._socket)]

    @property
    def _socket(self) -> Path:
        return self.folder / "bird.ctl"

    def received(self, session: Session) -> dict[str, Heard]:
        told = self.tells("birdc", "-r", "-s", str(self._socket), "show route protocol box all", check=False)
        found: dict[str, Heard] = {}
        for block in re.split(r"\n(?=\S)", told):
            prefix = block.split(" ", 1)[0]
            if "/" not in prefix:
                continue
            words = dict(re.findall(r"BGP\.(\w+): (.*)", block))
            found[prefix] = Heard(
                tuple(map(int, words["as_path"].split())),
                frozenset(f"{a}:{b}" for a, b in re.findall(r"\((\d+),(\d+)\)", words.get("community", ""))),
                int(words["local_pref"]),
            )
        return found


class GoBGP(Speaker):
    """GoBGP."""

    def argv(self, session: Session) -> list[str]:
        config = self.folder / "gobgpd.toml"
        config.write_text(
            f"""
            [global.config]
            as = {session.asn}
            router-id = "{ROUTER_ID}"
            [[neighbors]]
            [neighbors.config]
            neighbor-address = "{session.box}"
            peer-as = {session.box_asn}
            auth-password = "{session.password}"
            [neighbors.transport.config]
            local-address = "{session.address}"
            [neighbors.timers.config]
            connect-retry = 2
            idle-hold-time-after-reset = 1
            [[neighbors.afi-safis]]
            [neighbors.afi-safis.config]
            afi-safi-name = "ipv{session.family}-unicast"
            """
        )
        # Its API is reached through the namespace: no other has this loopback.
        return ["gobgpd", "-f", str(config), "-t", "toml", "--api-hosts", "127.0.0.1:50051", "-p"]

    def announce(self, session: Session) -> None:
        until("GoBGP answers", lambda: self.tells("gobgp", "neighbor", check=False))
        attributes = ("community", session.community) if session.community else ()
        family = ("-a", f"ipv{session.family}")
        for prefix in session.announce:
            self.tells("gobgp", "global", "rib", "add", *family, prefix, *attributes)

    def received(self, session: Session) -> dict[str, Heard]:
        argv = ("gobgp", "neighbor", session.box, "adj-in", "-a", f"ipv{session.family}", "-j")
        told = json.loads(self.tells(*argv, check=False) or "{}")
        paths: dict[str, list[dict[str, Any]]] = {} if "error" in told else told  # before the session is up
        return {prefix: self._attributes(one["attrs"]) for prefix, (one, *_) in paths.items()}

    def _attributes(self, attributes: list[dict[str, Any]]) -> Heard:
        by_type = {a["type"]: a for a in attributes}
        path = [asn for part in by_type[2].get("as_paths", ()) for asn in part["asns"]]
        numbers = by_type.get(8, {}).get("communities", ())
        communities = frozenset(f"{n >> 16}:{n & 0xFFFF}" for n in numbers)
        return Heard(tuple(path), communities, by_type.get(5, {}).get("value"))


_EXABGP = {
    "exabgp.daemon.user": "root",
    "exabgp.api.cli": "false",
    "exabgp.log.level": "INFO",
    "exabgp.log.destination": "stdout",
}


class ExaBGP(Speaker):
    """ExaBGP, which keeps no table: what it hears is a log of messages."""

    refreshes = False  # asked, version 4.2.21 fails and starts its session anew

    def argv(self, session: Session) -> list[str]:
        listener, config = self.folder / "listener", self.folder / "exabgp.conf"
        # ExaBGP takes a listener for dead whose standard output is closed.
        listener.write_text(f"#!/bin/sh\nexec cat 3>&1 >{self._messages}\n")
        listener.chmod(0o700)
        community = f"community [ {session.community} ]" if session.community else ""
        routes = "".join(f"route {p} next-hop self {community};\n" for p in session.announce)
        password = f'md5-password "{session.password}";' if session.password else ""
        config.write_text(
            f"""
            process listener {{ run {listener}; encoder json; }}
            neighbor {session.box} {{
              router-id {ROUTER_ID}; local-address {session.address};
              local-as {session.asn}; peer-as {session.box_asn};
              {password}
              family {{ ipv{session.family} unicast; }}
              static {{ {routes} }}
              api {{ processes [ listener ]; neighbor-changes; receive {{ parsed; update; }} }}
            }}
            """
        )
        return ["exabgp", str(config)]

    @property
    def _messages(self) -> Path:
        return self.folder / "messages"

    def received(self, session: Session) -> dict[str, Heard]:
        found: dict[str, Heard] = {}
        lines = self._messages.read_text().split("\n")[:-1] if self._messages.exists() else []
        for message in (json.loads(line, strict=False) for line in lines):
            neighbor = message.get("neighbor", {})
            if neighbor.get("state") == "down":
                found.clear()
            update = neighbor.get("message", {}).get("update", {})
            for family in update.get("withdraw", {}).values():
                for one in family:
                    found.pop(one["nlri"], None)
            attributes = update.get("attribute", {})
            for family in update.get("announce", {}).values():
                for one in (
                    one for hop, routes in family.items() if isinstance(routes, list) for one in routes
                ):
                    found[one["nlri"]] = Heard(
                        tuple(attributes.get("as-path", ())),
                        frozenset(f"{a}:{b}" for a, b in attributes.get("community", ())),
                        attributes.get("local-preference"),
                    )
        return {str(ip_network(prefix)): heard for prefix, heard in found.items()}


MAKES: tuple[type[Speaker], ...] = (Bird, GoBGP, ExaBGP)
