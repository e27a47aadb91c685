"""The trace plane: policies as pinned programs that run on, whoever restarts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from smartxd.errors import PlaneError, StoreError
from smartxd.manifest import Manifest, TracedInterface, TracedPolicy
from smartxd.planes.trace import attach, bpffs, diff, observe, pins, program, selection, sources
from smartxd.planes.trace.attach import Hook
from smartxd.planes.trace.state import LEDGER_MAX, PinnedPolicy, TraceObserved, Tracer, TraceState
from smartxd.reconcile.plan import Action, Ownership, Plan, Problem, Result, Verb
from smartxd.terms import Privacy

FORMER_INTERFACES_MAX = 64
"""Detached interfaces that the manifest remembers for each policy."""


class TracePlane:
    """Tracing on one box: converges what is pinned under ``bpffs_dir`` and tells the capture process."""

    name = diff.PLANE

    def __init__(
        self, bpffs_dir: Path, manifest: Path, secrets_dir: Path, *, hook: Hook | None = None
    ) -> None:
        """``hook`` says how to attach; None takes what is best on this kernel."""
        self.secrets_dir = secrets_dir
        self.bpffs_dir = bpffs_dir
        self.manifest = manifest
        self.hook = hook

    def has_leftovers(self) -> bool:
        """Whether anything is pinned in the box's own folder."""
        return self.bpffs_dir.is_dir() and any(self.bpffs_dir.iterdir())

    def observe(self) -> TraceObserved:
        """What is pinned and attached now."""
        return observe.observe(self.bpffs_dir, self.secrets_dir)

    def plan(self, desired: TraceState, observed: TraceObserved, owned: Ownership) -> Plan:
        """The steps from observed to desired, pure."""
        return diff.plan(desired, observed, owned)

    def apply(self, plan: Plan, observed: TraceObserved) -> Iterator[Result]:
        """Do the steps; one that fails stops neither the rest nor the other interfaces of its policy."""
        for action in plan.actions:
            try:
                problem = self._apply(action, observed)
            except PlaneError as err:
                problem = _problem(action, err)
            except OSError as err:
                problem = Problem(action.owner, "KernelRefused", f"{action.id}: {err}")
            yield Result(action, problem)

    def publish(self, commit_id: str) -> None:
        """Tell the capture process what is traced, under which commit; called after each convergence."""
        observed = self.observe()
        try:
            before = Manifest.read(self.manifest)
        except StoreError:
            before = Manifest()
        known = {policy.incarnation: policy for policy in before.policies}
        Manifest(
            policies=tuple(_traced(p, commit_id, known.get(p.incarnation)) for p in observed.policies)
        ).write(self.manifest)

    def remove_all(self) -> tuple[str, ...]:
        """Detach everything and drop all pins of this box, undrained flows too; the names of the policies.

        What the capture process should still get is retired by an empty desired state, not by this.
        PlaneError, with nothing removed, when ``bpffs_dir`` is not a folder of our own on a bpffs.
        """
        names: tuple[str, ...] = ()
        try:
            if self.bpffs_dir.exists():
                bpffs.require(self.bpffs_dir)
                names = pins.remove_all(self.bpffs_dir)
            self.manifest.unlink(missing_ok=True)
        except OSError as err:
            raise bpffs.refused(self.bpffs_dir, err) from err
        return names

    def _apply(self, action: Action, observed: TraceObserved) -> Problem | None:
        live = observed.live(action.owner.name) if action.new is not None else _named(action, observed)
        if action.verb is Verb.DELETE:
            for policy in live:
                pins.retire(policy.pin_dir)
            return None
        tracer: Tracer = action.new
        serving = next((p.pin_dir for p in live if diff.fits(p, tracer, observed.fingerprint)), None)
        if serving is None:
            serving = self._build(tracer, diff.fingerprint(tracer, observed.fingerprint))
        pins.set_terms(serving, tracer.terms)
        # The old build stops before the new one runs, so that no packet is counted twice.
        for policy in live:
            if policy.pin_dir != serving:
                _hide(policy, tracer.privacy)
                pins.retire(policy.pin_dir)
        return self._attach(action, serving, observed)

    def _build(self, tracer: Tracer, fingerprint: str) -> Path:
        bpffs.ensure(self.bpffs_dir)
        pins.remove_partial(self.bpffs_dir)
        pin_dir = pins.fresh_dir(self.bpffs_dir, tracer.owner.name, fingerprint)
        program.build(
            program.Request(
                *(str(sources.directory()), str(pin_dir), tracer.flow_entries, LEDGER_MAX),
                selection=selection.c_text(tracer),
                one_in=tracer.terms.one_in,
                probes=dict(tracer.probes),
                terms=tracer.terms.packed().hex(),
            )
        )
        return pin_dir

    def _attach(self, action: Action, pin_dir: Path, observed: TraceObserved) -> Problem | None:
        places = diff.wanted(action.new, observed.interfaces)
        names = {interface.ifindex: name for name, interface in observed.interfaces.items()}
        attach.remove_stale(pin_dir, keep=places)
        hook = self.hook or attach.best_hook(pin_dir)
        problems = []
        running = attach.attachments(pin_dir, names)
        for place in sorted(place for place in places if not running.get(place)):
            try:
                attach.attach(pin_dir, place, hook)
            except PlaneError as err:
                problems.append(_problem(action, err))
        if not problems:
            return None
        message = "; ".join(dict.fromkeys(p.message for p in problems))
        return Problem(action.owner, problems[0].reason, message)


def _hide(policy: PinnedPolicy, privacy: Privacy | None) -> None:
    """What an old build still holds is stored as its policy says now, where that hides more."""
    if privacy is not None:
        with suppress(FileNotFoundError):  # of an older release
            pins.set_terms(policy.pin_dir, replace(policy.terms, privacy=privacy))


def _named(action: Action, observed: TraceObserved) -> tuple[PinnedPolicy, ...]:
    return observed.live(action.id.removeprefix("policy "))


def _problem(action: Action, err: PlaneError) -> Problem:
    message = f"{err.message}: {err.hint}" if err.hint else err.message
    return Problem(action.owner, err.reason, message, permanent=err.reason == "ProgramRefused")


def _traced(policy: PinnedPolicy, commit_id: str, before: TracedPolicy | None) -> TracedPolicy:
    directions: dict[tuple[int, str], list[str]] = {}
    for place in sorted(policy.attachments):
        directions.setdefault((place.ifindex, place.interface), []).append(place.direction)
    attached = tuple(
        TracedInterface(ifindex=ifindex, name=name, directions=tuple(d), attached=True)
        for (ifindex, name), d in directions.items()
    )
    now = {interface.ifindex for interface in attached}
    former = [
        interface.model_copy(update={"attached": False})
        for interface in (before.interfaces if before else ())
        if interface.ifindex not in now
    ]
    return TracedPolicy(
        name=policy.name,
        commit_id=before.commit_id if before and policy.retired else commit_id,
        incarnation=policy.incarnation,
        pin_dir=policy.pin_dir,
        interfaces=(*attached, *former[-FORMER_INTERFACES_MAX:]),
        retired=policy.retired,
    )
