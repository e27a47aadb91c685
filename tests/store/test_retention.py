"""Which batches of a policy go: those that are too old, and the oldest of what is too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.store.batch import Sums
from smartxd.store.retention import Bounds, effort_bytes
from smartxd.store.segments import StoredBatch
from smartxd.terms import Retention

NOW_NS = 10**18
HOUR_NS = 3600 * 10**9
ALL = 1 << 62


def batch(seq: int, age_ns: int, stored_bytes: int) -> StoredBatch:
    at_ns = NOW_NS - age_ns
    return StoredBatch(
        "flows", seq, seq, seq, Sums(1, 1, 1, at_ns, at_ns), "", "wan", stored_bytes, gone=False
    )


kept = st.lists(st.tuples(st.integers(0, 3 * HOUR_NS), st.integers(0, 2_000_000)), max_size=30).map(
    lambda ages: [batch(seq, *each) for seq, each in enumerate(ages)]
)
retentions = st.builds(
    Retention, hours=st.none() | st.integers(1, 2), megabytes=st.none() | st.integers(1, 10)
)


def of(retention: Retention, batches: list[StoredBatch]) -> Bounds:
    return Bounds.of(retention, NOW_NS, sum(b.stored_bytes for b in batches))


@given(kept, retentions)
def test_what_stays_is_neither_too_old_nor_too_much_and_nothing_else_goes(
    batches: list[StoredBatch], retention: Retention
) -> None:
    going = of(retention, batches).due(batches, ALL)
    stays = [b for b in batches if b not in going]
    oldest_ns = NOW_NS - (retention.hours or 1 << 20) * HOUR_NS
    most_bytes = (retention.megabytes or 1 << 40) * 1_000_000
    assert all(b.sums.t_max_ns >= oldest_ns for b in stays)
    assert sum(b.stored_bytes for b in stays) <= most_bytes
    assert all(gone.sums.t_max_ns <= b.sums.t_max_ns for gone in going for b in stays)
    # With the last one that went, there was one too old or it was too much.
    for gone in going[-1:]:
        assert gone.sums.t_max_ns < oldest_ns or sum(b.stored_bytes for b in (gone, *stays)) > most_bytes


@given(kept, retentions, st.integers(1, 3_000_000))
def test_in_steps_the_same_goes_as_at_once(
    batches: list[StoredBatch], retention: Retention, most_bytes: int
) -> None:
    bounds, left, gone = of(retention, batches), list(batches), list[StoredBatch]()
    while going := bounds.due(left, most_bytes):
        assert effort_bytes(going[:-1]) < most_bytes
        bounds, left = bounds.without(going), [b for b in left if b not in going]
        gone += going
    assert gone == of(retention, batches).due(batches, ALL)
