"""captured = received + pending + tombstoned + quarantined, whatever happens in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from capture_rows import bounded, flow_rows, loss_rows
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from smartxd.records import STREAMS
from smartxd.store.backlog import Backlog
from smartxd.store.captures import CaptureStore
from smartxd.store.ledger import read_totals
from smartxd.terms import Retention


class Store(RuleBasedStateMachine):
    """A store beside a model that only knows how many rows went in and which batches were settled how."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.directory = self.root / "captures"
        self.now = 1_800_000_000.0
        self.generation = 0
        self.captured = dict.fromkeys(STREAMS, 0)
        self.received = dict.fromkeys(STREAMS, 0)
        self.quarantined = dict.fromkeys(STREAMS, 0)
        self.in_flight: dict[str, object] = {}

    @initialize(disk_max=st.sampled_from([200_000, 600_000, 1 << 30]))
    def open(self, disk_max: int) -> None:
        self.config = bounded(disk_max, segment_s=60, retention_s=120)
        self._open()

    def _open(self) -> None:
        self.store = CaptureStore(self.directory, self.config, clock=lambda: self.now)
        self.backlog = Backlog(self.directory)

    def _close(self) -> None:
        self.backlog.close()
        self.store.close()

    @rule(flows=st.integers(0, 900), losses=st.integers(0, 3), policy=st.sampled_from(["wan", "lan"]))
    def append(self, flows: int, losses: int, policy: str = "wan") -> None:
        self.generation += 1
        for _ in range(2):  # the second time is a no-op
            rows = flow_rows(1, flows, policy=policy)
            self.store.append("maps", self.generation, rows, loss_rows(losses))
        self.captured["flows"] += flows
        self.captured["losses"] += losses

    @rule(stream=st.sampled_from(list(STREAMS)), some=st.integers(1, 5))
    def acknowledge(self, stream: str, some: int) -> None:
        for batch in self.backlog.pending(stream)[:some]:
            rows = self.backlog.rows(batch).num_rows
            if rows:
                assert rows == batch.sums.rows
                self.backlog.received(batch)
                self.received[stream] += rows
            else:
                self.backlog.tombstone(batch)

    @rule(stream=st.sampled_from(list(STREAMS)))
    def refuse(self, stream: str) -> None:
        for batch in self.backlog.pending(stream)[:1]:
            self.backlog.quarantine(batch, "refused")
            self.quarantined[stream] += batch.sums.rows

    @rule(stream=st.sampled_from(list(STREAMS)), flows=st.integers(1, 900))
    def acknowledge_late(self, stream: str, flows: int) -> None:
        """The file may go while the batch is on its way."""
        batch = next(iter(self.backlog.pending(stream)), None)
        for _ in range(3):
            self.append(flows, 1)
            self.now += 60
        if batch:
            self.backlog.received(batch)
            self.received[stream] += batch.sums.rows

    @rule(policy=st.sampled_from(["wan", "lan"]), megabytes=st.integers(1, 1000))
    def sweep(self, policy: str, megabytes: int) -> None:
        """All rows are too old; what is asked anew is swept at once."""
        self.store.sweep({policy: Retention(1, megabytes)})

    @rule(seconds=st.integers(-100, 500))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()
        assert self.store.committed("maps") == (self.generation or None)

    @invariant()
    def the_ledger_balances(self) -> None:
        _, totals = read_totals(self.directory)
        for t in totals:
            assert t.captured.rows == self.captured[t.stream]
            assert t.ledger.received.rows == self.received[t.stream]
            assert t.ledger.quarantined.rows == self.quarantined[t.stream]
            assert min(*t.pending.values, *t.ledger.tombstoned.values) >= 0
            assert t.captured == t.ledger.settled + t.pending
            assert t.captured.batches == t.captured_seq

    def teardown(self) -> None:
        self._close()
        shutil.rmtree(self.root)


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
