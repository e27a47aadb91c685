"""``make demo``: two boxes on this machine, from one Git commit to traffic at the centre.

Every step either happens or fails the demo. On a terminal the lab then stays up until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from smartxd.errors import DaemonError, LabError, SmartxError
from smartxd.lab.lab import Lab

SPECS = Path(__file__).parent / "koren-two-site"
BOXES = ("gist1", "gist2")
CONTAINERS = {"c1": ("gist1", "10.10.0.11"), "c2": ("gist2", "10.10.0.12")}
IPERF_PORT = 5201
TCP, UDP = 6, 17
PATIENCE_S = 30.0

SECOND_TUNNEL = """apiVersion: smartx.io/v1alpha1
kind: Tunnel
metadata:
  name: second
spec:
  boxes:
    matchLabels: {network: koren}
  vni: 200
  flood:
    mode: multicast
    group: 239.1.1.200
  gateways:
    gist1: 10.20.0.1/24
    gist2: 10.20.0.2/24
"""


class Demo:
    """The steps, in the order in which they are shown."""

    def __init__(self) -> None:
        self.lab = Lab(SPECS, name=f"demo-{os.getpid()}")
        self.where = (os.path.relpath(SPECS),)
        self.started = time.monotonic()
        self.steps: tuple[Callable[[], None], ...] = (
            self.boot,
            self.plug_and_ping,
            self.session_and_route,
            self.traffic,
            self.status,
            self.flows,
            self.commit_a_tunnel,
            self.commit_its_removal,
            self.break_a_link,
            self.counts,
        )

    def run(self) -> None:
        """All steps; LabError from the first that does not happen."""
        for number, step in enumerate(self.steps, 1):
            elapsed = time.monotonic() - self.started
            heading(f"[{number}/{len(self.steps)}] {step.__doc__} ({elapsed:.0f} s)")
            step()
        heading(f"Everything happened, in {time.monotonic() - self.started:.0f} s.")
        print(f"The centre: {self.lab.center_url}")

    def boot(self) -> None:
        """Boot both boxes, the wide-area network, the repo and the centre; wait until all is Ready"""
        self.smartxctl("lab", "up", "--wait", "60", *self.name, *self.where)
        self.smartxctl("lab", "status", *self.name, *self.where)

    def plug_and_ping(self) -> None:
        """Plug a container into each box's virtual switch, and ping across the VXLAN"""
        for container, (box, address) in CONTAINERS.items():
            plug = ("lab", "plug", *self.name, *self.where, box, "br-koren", container, f"{address}/24")
            self.smartxctl(*plug)
        self.execute("c1", "ping", "-c", "3", "-i", "0.2", "-W", "2", CONTAINERS["c2"][1])

    def session_and_route(self) -> None:
        """The BGP session is established, and each box has learned the other's loopback"""

        def established() -> bool:
            sessions = [s for box in BOXES for s in self.lab.report(box).sessions]
            return len(sessions) == 2 and all(
                s.state == "Established" and s.prefixes_received > 0 for s in sessions
            )

        until("both ends of the BGP session are established", established)
        self.execute("gist1", "vtysh", "-N", self.lab.layout.box("gist1").namespace, "-c", "show bgp summary")
        route = until("the route to gist2's loopback", lambda: self.route("gist1", "10.255.0.2"))
        print(f"gist1's kernel: {route}")
        ping = ("ping", "-c", "1", "-W", "2", "-I", "10.255.0.1", "10.255.0.2")
        self.execute("gist1", *ping)

    def traffic(self) -> None:
        """Send TCP and UDP traffic from container to container"""
        with self.iperf_server("c2"):
            client = ("iperf3", "-c", CONTAINERS["c2"][1], "-t", "3", "-i", "0")
            self.execute("c1", *client)
            self.execute("c1", *client, "-u", "-b", "20M", "-l", "1200")

    def status(self) -> None:
        """What each box says of itself"""
        for box in BOXES:
            self.smartxctl("status", "--config", self.config(box))

    def flows(self) -> None:
        """The same traffic on both boxes, inside and outside the tunnel"""
        for box in BOXES:
            for protocol, title in ((TCP, "TCP"), (UDP, "UDP")):
                for interface in ("vx100", "wan0"):
                    what = f"{title} flows of iperf3 on {interface} of {box}"
                    until(what, partial(self.iperf_rows, box, protocol, interface))
            self.smartxctl("flows", "--config", self.config(box), "--limit", "12")

    def commit_a_tunnel(self) -> None:
        """Commit a second tunnel: both boxes converge on it"""
        self.commit({"second.yaml": SECOND_TUNNEL}, "A second tunnel")
        self.execute("gist1", "ip", "-br", "link", "show", "type", "vxlan")
        until("a ping over the second tunnel", lambda: self.reaches("gist1", "10.20.0.2"))
        print("gist1 reaches 10.20.0.2, gist2's address on the second tunnel")

    def commit_its_removal(self) -> None:
        """Commit its removal: nothing of it stays"""
        self.commit({"second.yaml": None}, "No second tunnel")
        for box in BOXES:
            left = {"vx200", "br200"} & self.links(box).keys()
            if left:
                raise LabError(f"{box} still has {', '.join(sorted(left))}")
        self.execute("gist1", "ip", "-br", "link", "show", "type", "vxlan")

    def break_a_link(self) -> None:
        """Delete a VXLAN link by hand: the box repairs it, and says so"""
        broken = self.links("gist1")["vx100"]["ifindex"]
        self.execute("gist1", "ip", "link", "del", "vx100")

        def repaired() -> int:
            now = int(self.links("gist1").get("vx100", {"ifindex": broken})["ifindex"])
            return now if now != broken else 0

        print(f"link {broken} is gone; vx100 is back as link {until('vx100 is back', repaired)}")
        print(until("the box says that it repaired vx100", partial(self.drift, "gist1", "link vx100")))
        self.lab.wait_ready(PATIENCE_S)
        until("the containers reach each other again", lambda: self.reaches("c1", CONTAINERS["c2"][1]))
        self.execute("c1", "ping", "-c", "2", "-i", "0.2", "-W", "2", CONTAINERS["c2"][1])

    def counts(self) -> None:
        """The centre has exactly what the boxes have captured"""
        line = "{:<6} {:<8} {:<9} {:>8} {:>8} {:>12} {:>14}".format
        print(line("BOX", "STREAM", "COUNTED", "BATCHES", "ROWS", "PACKETS", "BYTES"))
        for box in BOXES:
            for stream, (here, there) in until(
                f"equal counts at {box} and the centre", partial(self.equal_counts, box)
            ).items():
                print(line(box, stream, "by box", *here))
                print(line(box, stream, "by centre", *there))

    @property
    def name(self) -> tuple[str, ...]:
        """The option that names the lab."""
        return ("--name", self.lab.layout.name)

    def config(self, box: str) -> str:
        """The configuration file of a box's daemons."""
        return str(self.lab.layout.box(box).config)

    def smartxctl(self, *args: str) -> None:
        """Show the command, run it with its output on the screen; LabError when it fails."""
        show("smartxctl", *args)
        done = subprocess.run([*_SMARTXCTL, *args], timeout=120, check=False)
        if done.returncode != 0:
            raise LabError(f"smartxctl {args[0]} exited with {done.returncode}")

    def execute(self, member: str, *argv: str) -> None:
        """Run a command in a box or container, as an operator does."""
        self.smartxctl("lab", "exec", *self.name, *self.where, member, "--", *argv)

    def commit(self, files: dict[str, str | None], message: str) -> None:
        """Commit to the lab's repo and wait until every box is Ready on it."""
        commit = self.lab.commit(files, message)
        start = time.monotonic()
        print(f"committed {commit[:10]} {message!r} to {self.lab.layout.repo}")
        self.lab.wait_ready(PATIENCE_S)
        print(f"both boxes are Ready on it after {time.monotonic() - start:.2f} s")

    def ask(self, member: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """What a command in a box or container says, without showing it."""
        command = self.lab.command_in(member, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    def links(self, box: str) -> dict[str, Any]:
        """The links of a box by name."""
        return {link["ifname"]: link for link in json.loads(self.ask(box, "ip", "-j", "link").stdout)}

    def route(self, box: str, address: str) -> str:
        """The kernel's route to exactly this address; empty when it has none."""
        return self.ask(box, "ip", "route", "show", address).stdout.strip()

    def reaches(self, member: str, address: str) -> bool:
        """Whether a ping is answered."""
        return self.ask(member, "ping", "-c", "1", "-W", "1", address).returncode == 0

    def flow_data(self, box: str, *args: str) -> Any:
        """``smartxctl flows -o json`` of a box."""
        command = [*_SMARTXCTL, "flows", "--config", self.config(box), "-o", "json", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise LabError(f"smartxctl flows of {box}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def iperf_rows(self, box: str, protocol: int, interface: str) -> list[Any]:
        """The flow rows of iperf3 with this protocol, read from inside the tunnel where it is outside."""
        inner = "inner_" if interface == "wan0" else ""
        wanted = (protocol, IPERF_PORT)
        rows = self.flow_data(box, "--limit", "100000")
        return [
            row
            for row in rows
            if row["interface"] == interface and (row[f"{inner}protocol"], row[f"{inner}dst_port"]) == wanted
        ]

    def equal_counts(self, box: str) -> dict[str, tuple[list[int], list[int]]]:
        """By stream, what the box captured and what the centre has, once that is the same; else empty."""
        keys = ("batches", "rows", "packets", "bytes")
        captured = self.flow_data(box, "--totals")
        url = f"{self.lab.center_url}api/v1/totals?box={box}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            received = {t["stream"]: t for t in json.load(answer) if t["epoch"] == captured["epoch"]}
        counts = {
            s["stream"]: (
                [s["captured"][k] for k in keys],
                [received.get(s["stream"], {}).get(k) for k in keys],
            )
            for s in captured["streams"]
            if s["captured"]["batches"]
        }
        return counts if all(here == there for here, there in counts.values()) else {}

    def drift(self, box: str, what: str) -> str:
        """What the box says of a repair of ``what``; empty when it says nothing."""
        for c in self.lab.report(box).conditions:
            if c.type == "Drifted" and what in c.message:
                return f"{c.object}: {c.type}: {c.reason}: {c.message}"
        return ""

    @contextlib.contextmanager
    def iperf_server(self, container: str) -> Iterator[None]:
        """An iperf3 server in a container, listening when this is entered."""
        command = self.lab.command_in(container, ["iperf3", "-s", "-p", str(IPERF_PORT), "--forceflush"])
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            try:
                assert server.stdout is not None
                for line in server.stdout:
                    if "Server listening" in line:
                        break
                else:
                    raise LabError("the iperf3 server does not start")
                yield
            finally:
                server.terminate()


_SMARTXCTL = (str(Path(sys.executable).with_name("smartxctl")),)


def until(what: str, holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of ``holds``; LabError, naming ``what``, when there is none in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with contextlib.suppress(DaemonError):
            if value := holds():
                return value
        time.sleep(0.1)  # What is asked has no event to wait for from here.
    raise LabError(f"this did not happen within {patience_s:.0f} s: {what}")


def heading(text: str) -> None:
    """A line that stands out on a terminal."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(*command: str) -> None:
    """The command as a person would type it."""
    print(f"$ {shlex.join(command)}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """0 when every step happened, 1 when one did not, 130 when a person stopped it before the end."""
    signal.signal(signal.SIGTERM, _interrupt)
    demo, code = Demo(), 130
    try:
        demo.run()
        code = 0
        if sys.stdin.isatty() and sys.stdout.isatty():
            print("The lab stays up until Ctrl-C.", flush=True)
            signal.pause()
    except SmartxError as err:
        print(f"\nThe demo failed: {err.message}", file=sys.stderr)
        if err.hint:
            print(f"hint: {err.hint}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print()
    finally:
        # A second Ctrl-C must not leave half a lab behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.lab.down()
        print(f"Lab {demo.lab.layout.name} is down.", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
