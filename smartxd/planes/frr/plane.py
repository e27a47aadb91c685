"""FRR as a plane: observe, plan, apply."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from smartxd.config import FRRConfig
from smartxd.errors import PlaneError
from smartxd.objects import OwnedObject
from smartxd.planes.frr import diff
from smartxd.planes.frr.apply import Convergence
from smartxd.planes.frr.loaded import Loaded
from smartxd.planes.frr.needs import daemons
from smartxd.planes.frr.reload import Reload
from smartxd.planes.frr.running import Configuration
from smartxd.planes.frr.saved import Saved
from smartxd.planes.frr.state import PLANE, FRRState
from smartxd.planes.frr.vault import Vault
from smartxd.planes.frr.vtysh import Vtysh
from smartxd.planes.frr.words import Path as Statement
from smartxd.planes.frr.words import part_of
from smartxd.reconcile.plan import Action, Ownership, Plan, Result
from smartxd.secrets import NO_SECRETS, Secrets


@dataclass(frozen=True, slots=True)
class FRRObserved:
    """What runs, without preamble and version, and with a token for each password; and what is secret."""

    running: Configuration
    answering: frozenset[str]
    """The daemons that took part."""
    secrets: Secrets = NO_SECRETS
    lacking: Mapping[str, frozenset[Statement]] = field(default_factory=dict)
    """What daemons that were started anew have not loaded of frr.conf, by daemon."""

    @property
    def text(self) -> str:
        """As FRR prints it, but for passwords."""
        return self.running.text


class FRRPlane:
    """The routing daemons of one box."""

    name = PLANE

    def __init__(self, config: FRRConfig, secrets_dir: Path = Path("/etc/smartxd/secrets")) -> None:
        self._vault = Vault(secrets_dir)
        self._vtysh = Vtysh(config, self._vault)
        self._reload = Reload(config)
        self._loaded = Loaded(self._vtysh.saved_file, self._vtysh.run_dir, self._vault)
        self._saved = Saved(self._vtysh, self._loaded)
        self._seen: tuple[Mapping[str, str], tuple[Configuration, frozenset[str]]] | None = None
        self._planned: tuple[FRRState, FRRObserved, frozenset[OwnedObject], Plan] | None = None

    @property
    def run_dir(self) -> Path:
        """Where the daemons' start and end can be watched."""
        return self._vtysh.run_dir

    def has_leftovers(self) -> bool:
        """Whether what was written last has still to be saved."""
        return self._saved.pending

    def observe(self) -> FRRObserved:
        """The running configuration; PlaneError ``FRRMissing``, ``FRRDaemonDown`` or ``FRRUntested``.

        What could not be saved after it was written is saved now that every daemon has answered.
        """
        running, answering = self._look()
        lacking = self._loaded.lacking(running, answering)
        if not lacking:
            self._loaded.accept()
            self._saved.catch_up()
        return FRRObserved(running, answering, self._vault.read(), lacking)

    def _look(self, *, save: bool = False) -> tuple[Configuration, frozenset[str]]:
        """The running configuration and who answered: read anew where anything of it may have changed.

        While the daemons say the same as before, what vtysh makes of it is the same too; one that is too busy
        to say it may have changed. ``save`` has what is read saved at once, where that may be: half the time
        of saving is vtysh's start.
        """
        words = self._vtysh.words()
        if self._seen is not None and self._seen[0] == words:
            busy = self._seen[1][1].intersection(self._vtysh.started()) - words.keys()
            if not busy:
                return self._seen[1]
        found = (self._saved.catch_up() if save else None) or self._vtysh.observe()
        self._seen = words, found
        return found

    def plan(self, desired: FRRState, observed: FRRObserved, owned: Ownership) -> Plan:
        """The steps from observed to desired; what is foreign and in the way, or not saved, is a Problem.

        PlaneError ``FRRDaemonDown`` where a daemon that keeps something of it does not answer: its
        configuration cannot be seen, and what was written to the others would be half of it. PlaneError
        ``FRRNotLoaded`` where one was started anew and lacks what others have put into frr.conf.
        """
        self._require_loaded(desired, observed, owned)
        needed = daemons([*(part.id for part in desired.parts), *owned.of(PLANE)])
        if missing := [daemon for daemon in needed if daemon not in observed.answering]:
            raise self._vtysh.down(missing)
        self._saved.look_back(observed.running, owned.of(PLANE))
        found = self._diff(desired, observed, owned)
        problems, held = (*found.problems, *self._saved.problems()), found.held | self._saved.gone
        return replace(found, problems=problems, held=held)

    def _diff(self, desired: FRRState, observed: FRRObserved, owned: Ownership) -> Plan:
        """The difference; the last one where it is of the same."""
        if self._planned is not None:
            state, before, objects, found = self._planned
            same = state is desired and before.running is observed.running and objects == owned.objects
            if same and before.secrets == observed.secrets:
                return found
        found = diff.plan(desired, observed.running, owned, observed.secrets)
        self._planned = desired, observed, owned.objects, found
        return found

    def _require_loaded(self, desired: FRRState, observed: FRRObserved, owned: Ownership) -> None:
        """PlaneError where what is not smartxd's would be lost; its own parts it can make again."""
        ours = {*(part.id for part in desired.parts), *owned.of(PLANE)}
        for daemon, statements in sorted(observed.lacking.items()):
            if any(part_of(statement) not in ours for statement in statements):
                raise PlaneError(
                    "FRRNotLoaded",
                    f"{daemon} has been started and has not loaded all of {self._vtysh.saved_file}: "
                    "nothing is written until it has",
                    "if it stays so: `vtysh -b` loads it, `vtysh -c 'write memory'` keeps what runs instead",
                )
        self._loaded.accept()

    def apply(self, plan: Plan, observed: FRRObserved) -> Iterator[Result]:
        """Do the steps as one batch; PlaneError before anything is written where a daemon does not answer."""
        if not plan.actions:
            return
        self._reload.prepare()
        self._vtysh.probe(daemons(action.id for action in plan.actions))
        tokens = observed.secrets.tokens
        doing = Convergence(
            self._vtysh,
            self._reload,
            plan.actions,
            observed.running,
            tokens,
            lambda: self._writing(plan.actions),
            lambda settled: self._look(save=settled)[0],
        )
        results = tuple(doing.run())
        self._saved.catch_up()
        unsaved = {problem.owner: problem for problem in self._saved.problems()}
        for result in results:
            yield Result(result.action, result.problem or unsaved.get(result.action.owner))

    def _writing(self, actions: Collection[Action]) -> None:
        """FRR is about to be changed; PlaneError where a daemon has been started since it was looked at."""
        if self._loaded.is_outdated:
            raise PlaneError("FRRNotLoaded", "a daemon has been started anew: FRR is looked at again first")
        self._saved.lacks(actions)
