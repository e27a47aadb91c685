"""Links are removed together, and never with somebody else's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from conftest import Namespace

from smartxd.planes.kernel import removal
from smartxd.planes.kernel.observe import observe_links
from smartxd.planes.kernel.observed import ObservedLink
from smartxd.planes.kernel.removal import LostMarkError, remove
from smartxd.planes.kernel.rtnl import RTM_DELLINK, Rtnl
from smartxd.planes.kernel.state import NEWBORN_GROUP

pytestmark = pytest.mark.kernel

OURS = [f"br{i}" for i in range(8)]


@pytest.fixture
def rtnl(box: Namespace) -> Iterator[Rtnl]:
    """A socket of the box, in which there are eight bridges of smartxd's, with ports, and a foreign one."""
    box.batch(
        [
            *(f"link add {name} type bridge" for name in OURS),
            *(f"link set {name} alias smartxd:Tunnel/t up" for name in OURS),
            *(f"link add p{name} type veth peer name q{name}" for name in OURS[:2]),
            *(f"link set p{name} master {name} up" for name in OURS[:2]),
            "link add foreign type bridge",
            "link set foreign alias somebody",
        ]
    )
    with box.inside():
        made = Rtnl()
    try:
        yield made
    finally:
        made.close()


def named(rtnl: Rtnl, names: Sequence[str]) -> list[ObservedLink]:
    links = observe_links(rtnl)
    return [links[name] for name in names]


def test_many_links_go_and_the_others_stay(rtnl: Rtnl) -> None:
    before = observe_links(rtnl)
    assert remove(rtnl, named(rtnl, OURS)) == dict.fromkeys(OURS)
    after = observe_links(rtnl)
    assert set(after) == set(before) - set(OURS)
    assert after["foreign"] == before["foreign"]
    assert {link.group for link in after.values()} == {0}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_links_is_removed(rtnl: Rtnl, count: int) -> None:
    assert remove(rtnl, named(rtnl, OURS[:count])) == dict.fromkeys(OURS[:count])
    assert set(observe_links(rtnl)) & set(OURS) == set(OURS[count:])


@pytest.mark.parametrize("change", ["name renamed", "alias somebody"])
def test_a_link_that_is_another_one_now_stays_where_it_was(rtnl: Rtnl, box: Namespace, change: str) -> None:
    planned = named(rtnl, OURS)
    box.ip(f"link set br3 {change}")
    outcomes = remove(rtnl, planned)
    assert isinstance(outcomes["br3"], LostMarkError)
    assert [name for name, outcome in outcomes.items() if outcome is not None] == ["br3"]
    (left,) = (link for link in observe_links(rtnl).values() if link.index == planned[3].index)
    assert left.group == 0


def test_links_that_are_gone_are_removed(rtnl: Rtnl, box: Namespace) -> None:
    planned = named(rtnl, OURS)
    box.ip("link del br3")
    assert remove(rtnl, planned) == dict.fromkeys(OURS)


class Crowded(Rtnl):
    """Somebody puts a link into the group just before it is removed."""

    def __init__(self, box: Namespace) -> None:
        super().__init__()
        self._box = box

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        done = super().batch(changes)
        if len(changes) > 1:
            group = next(link.group for link in observe_links(self).values() if link.group)
            self._box.ip(f"link set foreign group {group}")
        return done


def test_a_group_with_a_stranger_in_it_is_not_removed(rtnl: Rtnl, box: Namespace) -> None:
    with box.inside():
        crowded = Crowded(box)
    assert remove(crowded, named(rtnl, OURS)) == dict.fromkeys(OURS)
    crowded.close()
    assert "foreign" in observe_links(rtnl)
    assert not set(observe_links(rtnl)) & set(OURS)


class Killed(Rtnl):
    """Dies when the group is to be removed."""

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        if changes[0][0] == RTM_DELLINK:
            raise KeyboardInterrupt
        return super().batch(changes)


def test_after_a_kill_in_between_the_links_are_still_known(rtnl: Rtnl, box: Namespace) -> None:
    planned = named(rtnl, OURS)
    with box.inside():
        killed = Killed()
    with pytest.raises(KeyboardInterrupt):
        remove(killed, planned)
    killed.close()
    again = named(rtnl, OURS)
    assert {link.group for link in again} != {0}
    assert all(link.owner is not None for link in again)
    assert remove(rtnl, again) == dict.fromkeys(OURS)


def test_a_newborn_link_does_not_leave_its_group(
    rtnl: Rtnl, box: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `ip link set br7 alias ''` is what clears an alias.
    box.run(f"ip link set br7 group {NEWBORN_GROUP}")
    box.batch(['link set br7 alias ""'])
    planned = named(rtnl, OURS)
    assert planned[7].newborn
    gathered: list[str] = []
    monkeypatch.setattr(removal, "_remove_group", lambda _, links: gathered.extend(k.name for k in links))
    assert remove(rtnl, planned) == dict.fromkeys(OURS)
    assert gathered == OURS[:7]
