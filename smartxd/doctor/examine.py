"""All looks, one after the other: what goes wrong in one is its finding, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smartxd.config import Config, SourceConfig, load
from smartxd.desired import desire
from smartxd.doctor.finding import Finding, Look, Verdict
from smartxd.doctor.kernel import KernelLooks
from smartxd.doctor.machine import MachineLooks
from smartxd.doctor.needs import Needs, needs
from smartxd.doctor.others import OtherLooks
from smartxd.doctor.routing import RoutingLooks
from smartxd.errors import ConfigError, SmartxError
from smartxd.source.good import good_specs
from smartxd.spec.load import load as load_specs

_ALL = "all of smartxd"


def examine(path: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """Every finding of the box that the configuration at ``path`` is of, in a fixed order.

    Without a configuration, or before the box has specs, what is missing is a warning: nothing needs it yet.
    """
    config, found = _config(path)
    yield found
    wanted = Needs()
    if found.verdict is Verdict.OK:
        wanted, found = _specs(config)
        yield found
    for look in _looks(config, wanted, root, configured=found.check == "specs"):
        yield from _bounded(look)


def _looks(config: Config, wanted: Needs, root: Path, *, configured: bool) -> Iterator[Look]:
    kernel, others = KernelLooks(config, wanted, root), OtherLooks(config, wanted, root)
    routing, machine = RoutingLooks(config, wanted, root), MachineLooks(config, wanted, root)
    yield from (kernel.version, kernel.bpf, kernel.files, kernel.bpffs, kernel.build, kernel.links)
    yield from (kernel.forwarding, kernel.memberships)
    yield from (routing.frr, routing.secrets)
    yield from (others.programs, others.networkd, others.network_manager, others.ifstate)
    yield from (machine.clock, machine.disk, machine.memory)
    if configured:
        yield from (machine.daemon, machine.capture)


def _bounded(look: Look) -> Iterator[Finding]:
    try:
        yield from look()
    except (SmartxError, OSError) as err:
        said = err.line if isinstance(err, SmartxError) else str(err)
        name = getattr(look, "__name__", "look").replace("_", " ")
        yield Finding(name, Verdict.WARNING, f"not looked at: {said}", _ALL, "run smartxctl doctor as root")


def _config(path: Path) -> tuple[Config, Finding]:
    try:
        return load(path), Finding("configuration", Verdict.OK, str(path), _ALL)
    except ConfigError as err:
        absent = not path.exists()
        verdict = Verdict.WARNING if absent else Verdict.FAIL
        advice = "write it, as docs/configuration.md says" if absent else err.hint
        default = Config(box="-", source=SourceConfig(url=""))
        return default, Finding("configuration", verdict, err.message, _ALL, advice)


def _specs(config: Config) -> tuple[Needs, Finding]:
    """What the last good commit asks of the box; nothing where there is none."""
    purpose = "knowing what this box needs"
    try:
        found = good_specs(config.state_dir / "source.git", config.source.path)
        if found is None:
            text = "none yet: what is missing is a warning, whether the box will need it or not"
            advice = "start smartxd, which fetches them"
            return Needs(), Finding("specs", Verdict.WARNING, text, purpose, advice)
        commit, files = found
        wanted = needs(desire(load_specs(files), config.box))
    except (SmartxError, KeyError) as err:
        said = err.message if isinstance(err, SmartxError) else f"they have no Box {config.box}"
        return Needs(), Finding("specs", Verdict.WARNING, said, purpose, "smartxctl status says more")
    text = f"commit {commit[:10]}, {len(wanted.objects)} objects of {config.box}"
    return wanted, Finding("specs", Verdict.OK, text, purpose)
