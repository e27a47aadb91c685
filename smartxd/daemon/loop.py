"""The loop: events only mark dirty, a round always starts from what is observed.

Threads watch the repo, the kernel, FRR and the socket; each puts what it saw into one queue. The loop alone
judges and notes. It does the rounds of kernel and tracers itself; those of FRR, which may hang, are done in a
lane of their own, one at a time.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from smartxd import __version__
from smartxd.config import Config
from smartxd.daemon.account import account, happened
from smartxd.daemon.converger import PLANES, Converger
from smartxd.daemon.errand import Errand, Outcome, Target
from smartxd.daemon.lane import Lane
from smartxd.daemon.planning import PlanRequest
from smartxd.desired import Desired, desire
from smartxd.errors import DaemonError
from smartxd.objects import ConditionType, Event
from smartxd.planes.frr.look import Look
from smartxd.planes.frr.state import FRRState
from smartxd.reconcile.plan import Plan
from smartxd.reconcile.planned import PlanReport, report
from smartxd.report import ControlReport, SourceReport
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


@dataclass(frozen=True, slots=True)
class Finished:
    """A round of FRR has been done."""

    errand: Errand
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Drafted:
    """FRR's part of a plan has been made."""

    request: PlanRequest
    desired: Desired
    plan: Plan


Item = Dirty | Seen | Stop | PlanRequest | Finished | Drafted | Look | Future[ControlReport]


class Loop:
    """Takes items in order of arrival, many at once, and converges."""

    def __init__(self, config: Config, converger: Converger) -> None:
        self._config, self._converger = config, converger
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._marked: set[str] = set()
        self._target: Target | None = None
        self._applied = converger.store.commit()
        self._lane = Lane("frr-lane")
        self._busy = self._again = False
        """Whether a round of FRR is under way, and whether another has to follow it."""
        self._ended = threading.Event()
        self._look = Look({})
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

    def looked(self, look: Look) -> None:
        """FRR's sessions were looked at."""
        self._queue.put(look)

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

    def wanted(self) -> FRRState:
        """What FRR is to be."""
        return self._target.desired.frr if self._target else FRRState()

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
        self._lane.start()
        try:
            self._serve()
        finally:
            self._lane.stop()
            self._ended.set()
            with contextlib.suppress(queue.Empty):
                while True:
                    _cancel([self._queue.get_nowait()])

    def _serve(self) -> None:
        for batch in self._batches():
            events: list[Event] = []
            dirty, news = self._take_in(batch, events)
            for item in batch:
                if isinstance(item, PlanRequest):
                    self._answer(item)
                elif isinstance(item, Drafted):
                    self._answer(item.request, item)
            if dirty and self._target is not None:
                self._converger.converge(self._target, dirty, events, self._hand_over)
                self._applied = self._target.commit
                self._round_at = time.monotonic()
            if news or dirty:
                self._tell(events)
                self._converger.save(events, self._target.commit if self._target else "")
            waiting = [item for item in batch if isinstance(item, Future)]
            if waiting:
                self._last_report = account(
                    self._config.box, self._converger, self._source, self._target, self._look
                )
                for future in waiting:
                    future.set_result(self._last_report)

    def _take_in(self, batch: Sequence[Item], events: list[Event]) -> tuple[set[str], bool]:
        """What is dirty, and whether there is anything to say."""
        finished = [item for item in batch if isinstance(item, Finished)]
        for done in finished:
            self._finish(done, events)
        dirty = self._due()
        for item in batch:
            if isinstance(item, Dirty):
                self._converger.hasten(item.plane)
                # Tracers watch links: one that came, went or was made anew concerns them too.
                dirty |= {"kernel", "trace"} if item.plane == "kernel" else {item.plane}
            elif isinstance(item, Seen):
                dirty |= self._take(item, events)
            elif isinstance(item, Look):
                self._look = item
                events += happened(item, self._converger.box, self._target.commit if self._target else "")
        return dirty, bool(finished or events)

    def _hand_over(self, errand: Errand) -> None:
        """Have a round of FRR done in the lane; while one is under way, after it."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        store = self._converger.store
        self._lane.do(lambda: self._queue.put(Finished(errand, errand.do(store))))

    def _finish(self, done: Finished, events: list[Event]) -> None:
        """Take in what a round of FRR did; what changed meanwhile makes another."""
        target = self._target or done.errand.target
        self._converger.finish(done.errand, done.outcome, target, events)
        if self._again or done.errand.target is not target:
            self.mark("frr")
        self._busy = self._again = False

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
        return min(self._resync_at, self._frr_at, *self._retries().values())

    def _retries(self) -> dict[str, float]:
        """When the next try of something that failed is due; of FRR that is known after its round."""
        return {p: at for p, at in self._converger.retries().items() if p != "frr" or not self._busy}

    def _due(self) -> set[str]:
        """The planes whose time has come."""
        now = time.monotonic()
        due = {plane for plane, at in self._retries().items() if at <= now}
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

    def _answer(self, request: PlanRequest, drafted: Drafted | None = None) -> None:
        """Answer a request for a plan, once FRR's part of it has been made in the lane."""
        desired = request.desired or (self._target.desired if self._target else None)
        fresh = drafted is not None and drafted.desired is desired
        if desired is not None and not fresh and self._converger.known("frr", desired) is None:
            self._lane.do(lambda: self._draft(request, desired))
            return
        if not request.answer.set_running_or_notify_cancel():
            return
        try:
            request.answer.set_result(self._planned(request.desired, drafted.plan if drafted else None))
        except Exception as err:  # noqa: BLE001 (raised again where the request came from; the box goes on)
            request.answer.set_exception(err)

    def _draft(self, request: PlanRequest, desired: Desired) -> None:
        """In the lane: make FRR's part of a plan, unless nobody waits for it any more."""
        if not request.answer.cancelled():
            self._queue.put(Drafted(request, desired, self._converger.draft("frr", desired)))

    def _planned(self, desired: Desired | None, frr: Plan | None) -> PlanReport:
        box = self._config.box
        if desired is not None:
            plans = self._converger.plan(desired, again=False, frr=frr)
            return report(box, plans, basis="observed", base=self._applied)
        target = self._target
        if target is None:
            raise DaemonError("no commit has been valid yet", "smartxctl status says why")
        plans = self._converger.plan(target.desired, again=target.commit == self._applied, frr=frr)
        return report(box, plans, basis="observed", commit=target.commit, base=self._applied)

    def _tell(self, events: list[Event]) -> None:
        """The history as it happens, for the journal."""
        for event in events:
            print(f"smartxd: {event.kind}: {event.object}: {event.message}", file=sys.stderr, flush=True)


def _cancel(items: Iterable[Item]) -> None:
    """Let go of those who wait for a plan."""
    for item in items:
        if isinstance(item, Drafted):
            item.request.answer.cancel()
        elif isinstance(item, PlanRequest):
            item.answer.cancel()
