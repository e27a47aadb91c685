"""On what terms a policy records, as the plane writes them and capture reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartxd.capture.conceal import concealer
from smartxd.terms import RECORD_BYTES, Budget, Privacy, Retention, Terms

budgets = st.builds(
    Budget,
    cpu_percent=st.none() | st.floats(0.001, 100),
    records_per_s=st.none() | st.integers(1, 10_000_000),
).filter(lambda budget: budget != Budget())
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
privacies = st.builds(Privacy, st.just("truncate"), st.integers(8, 32), st.integers(16, 128)) | st.builds(
    Privacy, st.just("pseudonym"), key=names
)
retentions = st.builds(
    Retention, hours=st.none() | st.integers(1, 24 * 365), megabytes=st.none() | st.integers(1, 1 << 20)
).filter(lambda retention: retention != Retention())
addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@given(
    st.builds(
        *(Terms, st.integers(1, 1 << 24), st.none() | budgets, st.none() | privacies, st.none() | retentions),
        active_timeout_s=st.integers(1, 3600),
        idle_timeout_s=st.integers(1, 3600),
    )
)
def test_terms_are_read_as_they_were_written(terms: Terms) -> None:
    assert Terms.unpacked(terms.packed()) == terms


def test_a_map_that_nothing_was_written_to_asks_for_every_packet_as_it_is() -> None:
    assert Terms.unpacked(bytes(RECORD_BYTES)) == Terms()


@given(st.integers(8, 32), st.integers(16, 128), addresses)
def test_truncation_leaves_the_prefix_and_no_bit_behind_it(four: int, six: int, address: bytes) -> None:
    cut, bits = concealer(Privacy("truncate", four, six), "")(address), 8 * len(address)
    prefix = four if bits == 32 else six
    number = int.from_bytes(cut, "big")
    assert len(cut) == len(address)
    assert number >> (bits - prefix) == int.from_bytes(address, "big") >> (bits - prefix)
    assert number & ((1 << (bits - prefix)) - 1) == 0


@given(addresses, names)
def test_a_pseudonym_is_the_same_for_one_key_and_another_for_another(address: bytes, key: str) -> None:
    one, same, other = (concealer(Privacy("pseudonym", key="k"), k)(address) for k in (key, key, key + "x"))
    assert one == same
    assert one != other
    assert len(one) == len(address)


def test_a_thousand_neighbours_have_a_thousand_pseudonyms() -> None:
    conceal = concealer(Privacy("pseudonym", key="k"), "a key")
    assert len({conceal(bytes((10, 0, n >> 8, n & 255))) for n in range(1000)}) == 1000
