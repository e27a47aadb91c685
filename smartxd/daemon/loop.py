"""The loop: events only mark dirty, a round always starts from what is observed.

Threads watch the repo, the kernel, FRR and the socket; each puts what it saw into one queue. The loop is the
only one that touches planes and store.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from smartxd import __version__
from smartxd.config import Config
from smartxd.daemon.converger import PLANES, Converger, Target
from smartxd.daemon.planning import PlanRequest
from smartxd.desired import Desired, desire
from smartxd.errors import DaemonError, PlaneError
from smartxd.objects import ConditionType, Event
from smartxd.reconcile.planned import PlanReport, report
from smartxd.report import ConditionReport, ControlReport, SessionReport, SourceReport
from smartxd.source.follow import Seen
from smartxd.source.gitcall import redacted
from smartxd.spec.fleet import Fleet

STATUS_TIMEOUT_S = 3.0
"""How long a status request waits for the loop before it gets the last report."""

ROUND_GAP_S = 0.05
"""Between rounds that only changes of kernel or FRR ask for: a script that fights us makes no busy loop."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """A plane may have changed."""

    plane: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the loop; the network stays as it is."""

    fault: str = ""
    """Why, when nobody asked for it."""


Item = Dirty | Seen | Stop | PlanRequest | Future[ControlReport]


class Loop:
    """Takes items in order of arrival, many at once, and converges."""

    def __init__(self, config: Config, converger: Converger) -> None:
        self._config, self._converger = config, converger
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._marked: set[str] = set()
        self._target: Target | None = None
        self._applied = converger.store.commit()
        self._ended = threading.Event()
        self._source = SourceReport(
            url=redacted(config.source.url), branch=config.source.branch, path=config.source.path
        )
        now = time.monotonic()
        self._resync_at = now + config.resync_interval_s
        self._frr_at = now + config.frr.check_interval_s
        self._round_at = now
        self._last_report = ControlReport(
            box=config.box, version=__version__, at=datetime.now(UTC), commit="", source=self._source
        )

    # What other threads call.

    def stop(self) -> None:
        """End the loop soon; safe in a signal handler."""
        self._queue.put(Stop())

    def crashed(self, args: threading.ExceptHookArgs) -> None:
        """A thread died of a fault: a daemon that is half alive would deceive, so all of it ends, loudly."""
        threading.__excepthook__(args)
        name = args.thread.name if args.thread else "a thread"
        self._queue.put(Stop(f"{name} died: {args.exc_value!r}"))

    def seen(self, seen: Seen) -> None:
        """The repo was looked at."""
        self._queue.put(seen)

    def mark(self, plane: str) -> None:
        """A plane may have changed; many changes before a round are one item."""
        if plane not in self._marked:
            self._marked.add(plane)
            self._queue.put(Dirty(plane))

    def status(self) -> str:
        """The report of this moment as JSON; the last one where the loop is busy."""
        wanted: Future[ControlReport] = Future()
        self._queue.put(wanted)
        try:
            return wanted.result(STATUS_TIMEOUT_S).model_dump_json()
        except TimeoutError:
            return self._last_report.model_dump_json()

    def ask(self, request: PlanRequest) -> None:
        """What would be done now, before the next round does it."""
        self._queue.put(request)
        if self._ended.is_set():  # looked at after the put, so that no request is left in between
            request.answer.cancel()

    def ready(self) -> str:
        """The applied commit and whether the box is Ready on it, as JSON; costs nothing to ask."""
        box = self._converger.box
        found = [c for c in self._converger.conditions if c.object == box and c.type is ConditionType.READY]
        commit = found[0].commit if found else ""
        return json.dumps({"box": box.name, "commit": commit, "ready": bool(found and found[0].status)})

    def findings(self, fleet: Fleet) -> tuple[str, ...]:
        """What is wrong with a valid fleet for this box."""
        if self._config.box in fleet.boxes:
            return ()
        return (f"no Box is named {self._config.box}, which is what smartxd.toml calls this box",)

    # The loop's own thread.

    def run(self) -> None:
        """Serve until stopped; DaemonError when a part of the daemon died."""
        try:
            self._serve()
        finally:
            self._ended.set()
            with contextlib.suppress(queue.Empty):
                while True:
                    _cancel([self._queue.get_nowait()])

    def _serve(self) -> None:
        for batch in self._batches():
            events: list[Event] = []
            dirty = self._due()
            for item in batch:
                if isinstance(item, Dirty):
                    self._converger.hasten(item.plane)
                    # Tracers watch links: one that came, went or was made anew concerns them too.
                    dirty |= {"kernel", "trace"} if item.plane == "kernel" else {item.plane}
                elif isinstance(item, Seen):
                    dirty |= self._take(item, events)
            for item in batch:
                if isinstance(item, PlanRequest):
                    self._answer(item)
            if dirty and self._target is not None:
                self._converger.converge(self._target, dirty, events)
                self._applied = self._target.commit
                self._round_at = time.monotonic()
            if dirty or events:
                self._tell(events)
                self._converger.save(events, self._target.commit if self._target else "")
            waiting = [item for item in batch if isinstance(item, Future)]
            if waiting:
                self._last_report = self._report()
                for future in waiting:
                    future.set_result(self._last_report)

    def _batches(self) -> Iterator[list[Item]]:
        """All that has arrived, at each arrival or deadline; ends at Stop."""
        while True:
            batch: list[Item] = []
            until = self._deadline()
            while True:
                try:
                    batch.append(self._queue.get(timeout=max(0.0, until - time.monotonic())))
                except queue.Empty:
                    break
                calm = all(isinstance(item, Dirty) for item in batch)
                until = self._round_at + ROUND_GAP_S if calm else 0.0
            # Cleared before the round observes: what changes from here on makes another round.
            self._marked.clear()
            if any(isinstance(item, Stop) for item in batch):
                _cancel(batch)
            for item in batch:
                if isinstance(item, Stop) and item.fault:
                    raise DaemonError(
                        item.fault, "the fault is in the log above; smartxd can be started again"
                    )
                if isinstance(item, Stop):
                    return
            yield batch

    def _deadline(self) -> float:
        return min(self._resync_at, self._frr_at, *self._converger.retries().values())

    def _due(self) -> set[str]:
        """The planes whose time has come."""
        now = time.monotonic()
        due = {plane for plane, at in self._converger.retries().items() if at <= now}
        if now >= self._resync_at:
            self._converger.kernel.resync()
            due |= set(PLANES)
            self._resync_at = now + self._config.resync_interval_s
        if now >= self._frr_at:
            due.add("frr")
        if "frr" in due:
            self._frr_at = now + self._config.frr.check_interval_s
        return due

    def _take(self, seen: Seen, events: list[Event]) -> set[str]:
        """Take in a look at the repo; the planes that it makes dirty."""
        head = seen.commit or self._source.head
        self._source = self._source.model_copy(
            update={"head": head, "seen_at": seen.at, "findings": seen.findings}
        )
        box = self._converger.box
        if seen.fleet is None:
            reason = "FetchFailed" if seen.error else "InvalidSpec"
            count = f"{len(seen.findings)} finding{'s' * (len(seen.findings) != 1)}"
            message = seen.error or f"{head[:10]} is not applied: {count}, the first: {seen.findings[0]}"
            lines = (f"source: {seen.error}",) if seen.error else seen.findings[:20]
            if self._converger.source(False, reason, message, head):
                kind = "FetchFailed" if seen.error else "CommitRefused"
                events += [Event(seen.at, head, box, kind, line) for line in lines]
            return set()
        self._converger.source(True, "Valid", f"{head[:10]} is valid", head)
        if self._target is not None and seen.commit == self._target.commit:
            return set()
        events.append(Event(seen.at, head, box, "CommitAccepted", f"{head[:10]} is valid"))
        self._target = Target(seen.commit, desire(seen.fleet, self._config.box), seen.at)
        self._converger.adopt()
        return set(PLANES)

    def _answer(self, request: PlanRequest) -> None:
        """Answer a request for a plan, unless nobody waits for it any more."""
        if not request.answer.set_running_or_notify_cancel():
            return
        try:
            request.answer.set_result(self._planned(request.desired))
        except Exception as err:  # noqa: BLE001 (raised again where the request came from; the box goes on)
            request.answer.set_exception(err)

    def _planned(self, desired: Desired | None) -> PlanReport:
        box = self._config.box
        if desired is not None:
            plans = self._converger.plan(desired, again=False)
            return report(box, plans, basis="observed", base=self._applied)
        target = self._target
        if target is None:
            raise DaemonError("no commit has been valid yet", "smartxctl status says why")
        plans = self._converger.plan(target.desired, again=target.commit == self._applied)
        return report(box, plans, basis="observed", commit=target.commit, base=self._applied)

    def _tell(self, events: list[Event]) -> None:
        """The history as it happens, for the journal."""
        for event in events:
            print(f"smartxd: {event.kind}: {event.object}: {event.message}", file=sys.stderr, flush=True)

    def _sessions(self) -> tuple[SessionReport, ...]:
        return ()

    def _report(self) -> ControlReport:
        target = self._target
        report = ControlReport(
            box=self._config.box,
            version=__version__,
            at=datetime.now(UTC),
            commit=target.commit if target else "",
            applied_at=target.taken_at if target else None,
            source=self._source,
            conditions=tuple(
                ConditionReport(
                    object=str(c.object),
                    type=c.type,
                    status=c.status,
                    reason=c.reason,
                    message=c.message,
                    commit=c.commit,
                    since=c.since,
                )
                for c in self._converger.conditions
            ),
            sessions=self._sessions(),
        )
        if target is None:
            return report
        try:
            kernel = self._converger.kernel
            tunnels, bridges = kernel.forwarding(target.desired.kernel, kernel.observe())
        except PlaneError:
            return report  # the conditions say what is wrong with the kernel
        return report.model_copy(update={"tunnels": tunnels, "bridges": bridges})


def _cancel(items: Iterable[Item]) -> None:
    """Let go of those who wait for a plan."""
    for item in items:
        if isinstance(item, PlanRequest):
            item.answer.cancel()
