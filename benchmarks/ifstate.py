"""ifstate, a peer of the kernel plane: the same objects from its own configuration, in its own namespaces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from smartxd.errors import LabError
from smartxd.planes.kernel.state import Bridge, KernelState, Vxlan

VERSION = "2.5.1"
_VENV = Path("build/peers/ifstate")
_TIMEOUT_S = 600


def times(state: KernelState, folder: Path) -> tuple[float, float]:
    """Seconds to make the objects of a state, and to find that nothing is to be done, in new namespaces."""
    command = _installed()
    config = folder / "ifstate.yaml"
    config.write_text(yaml.safe_dump({"interfaces": _interfaces(state)}, sort_keys=False))
    script = folder / "twice.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "for _ in range(2):\n"
        "    began = time.perf_counter()\n"
        "    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "    print(time.perf_counter() - began)\n"
    )
    # Its look into /sys must be one of the new network namespace.
    inner = 'mount -t sysfs sysfs /sys && exec "$@"'
    argv = ["unshare", "-n", "-m", "sh", "-c", inner, "sh", sys.executable, str(script)]
    done = subprocess.run(
        [*argv, str(command), "-c", str(config), "apply"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise LabError(f"ifstate: {done.stderr.strip()[-500:]}", "the peer of this benchmark did not run")
    made, again = map(float, done.stdout.split())
    return made, again


def _installed() -> Path:
    command = _VENV / "bin" / "ifstatecli"
    if not command.exists():
        for argv in (
            [sys.executable, "-m", "venv", str(_VENV)],
            [str(_VENV / "bin" / "pip"), "install", "--quiet", f"ifstate=={VERSION}"],
        ):
            subprocess.run(argv, check=True, timeout=_TIMEOUT_S)
    return command.absolute()


def _interfaces(state: KernelState) -> dict[str, dict[str, object]]:
    veth = {"kind": "veth", "state": "up"}
    made: dict[str, dict[str, object]] = {
        "lo": {"link": {"kind": "physical", "state": "up"}, "addresses": ["127.0.0.1/8", "::1/128"]},
        "wan0": {"link": {**veth, "peer": "wan1"}, "addresses": ["192.0.2.1/24"]},
        "wan1": {"link": {**veth, "peer": "wan0"}},
    }
    addresses = {address.link: [address.address] for address in state.addresses}
    for link in state.links:
        if isinstance(link, Bridge):
            options: dict[str, object] = {"kind": "bridge"}
        elif isinstance(link, Vxlan):
            options = {
                **{"kind": "vxlan", "vxlan_id": link.vni, "vxlan_local": link.local},
                **{"vxlan_port": link.port, "master": link.bridge},
            }
        made[link.name] = {
            "link": {**options, "state": "up", "mtu": link.mtu},
            "addresses": addresses.get(link.name, []),
        }
    return made
