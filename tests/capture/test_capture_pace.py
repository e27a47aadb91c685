"""How coarsely a policy samples to keep to its budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.capture.pace import CPU_COARSER_MAX, ONE_IN_MAX, Load, next_one_in
from smartxd.terms import Budget, Terms

budgets = st.builds(
    Budget,
    cpu_percent=st.none() | st.floats(0.001, 100),
    records_per_s=st.none() | st.integers(1, 10_000_000),
).filter(lambda budget: budget != Budget())
intervals = st.integers(1, ONE_IN_MAX)


@given(intervals, intervals, st.floats(0, 10), st.integers(0, 1 << 40))
def test_without_a_budget_the_interval_is_what_was_asked_for(base: int, now: int, cpu: float, n: int) -> None:
    assert next_one_in(Terms(base), now, Load(1, cpu, n)) == base


@given(
    st.integers(1, 1 << 16),
    budgets,
    st.floats(0, 50),
    st.floats(0, 50),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)
def test_under_a_load_that_stays_it_comes_to_rest_within_the_budget_or_as_coarse_as_it_may(
    base: int, budget: Budget, cpu_fixed: float, cpu: float, fixed: float, rows: float
) -> None:
    """A part of the load does not depend on the interval, the rest does in inverse proportion."""
    terms, one_in, seen = Terms(base, budget), base, []
    for _ in range(60):
        part = base / one_in
        load = Load(1, (cpu_fixed + cpu * part) / 100, int(fixed + rows * part))
        seen.append(one_in)
        one_in = next_one_in(terms, one_in, load)
        assert one_in >= base
        assert (one_in // base).bit_count() == 1
        assert one_in % base == 0  # what a hash chooses now it chose before
    assert len(set(seen[-10:])) == 1, seen
    used_cpu, used_rows = load.of(budget)
    assert used_rows <= 1 or 2 * one_in > ONE_IN_MAX
    assert used_cpu <= 1 or 2 * one_in > base * CPU_COARSER_MAX or 2 * one_in > ONE_IN_MAX


@given(intervals, budgets)
def test_when_nothing_comes_it_goes_back_to_what_was_asked_for(base: int, budget: Budget) -> None:
    one_in = base
    for _ in range(3):
        one_in = next_one_in(Terms(base, budget), one_in, Load(1, 1e6, 1 << 50))
    for _ in range(30):
        one_in = next_one_in(Terms(base, budget), one_in, Load(1, 0, 0))
    assert one_in == base
