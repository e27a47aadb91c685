"""How a plan says the values of fields."""

from __future__ import annotations

from smartxd.objects import ObjectRef
from smartxd.planes.kernel.state import NextHop, Plug, PortSettings, Route, VlanRange
from smartxd.reconcile.plan import Action, Change, Plan, Verb
from smartxd.reconcile.planned import PlannedAction, report, written

VM = ObjectRef("Port", "vm")
ACCESS = PortSettings((VlanRange(10, 10, pvid=True, untagged=True), VlanRange(20, 29)), isolated=True)


def planned(action: Action) -> PlannedAction:
    return report("a", [Plan((action,))], basis="observed").actions[0]


def test_what_is_nested_in_a_new_object_is_said_field_by_field_in_words() -> None:
    new = Plug(VM, "tap3", "br100", ACCESS)
    made = planned(Action("kernel", new.id, VM, Verb.CREATE, None, new))
    assert made.fields == {
        "link": (None, "tap3"),
        "bridge": (None, "br100"),
        "settings.vlans": (None, ["10 pvid untagged", "20-29"]),
        "settings.isolated": (None, True),
        "settings.learning": (None, True),
    }


def test_next_hops_are_said_as_ip_route_does_and_sets_sorted() -> None:
    old = Route(VM, "10.0.0.0/8", (NextHop("192.0.2.9", "wan", 2), NextHop(link="eth1")))
    changes = (Change("hops", old.hops, ()), Change("remotes", frozenset({"b", "a"}), frozenset()))
    said = planned(Action("kernel", old.id, VM, Verb.UPDATE, old, old, changes=changes)).fields
    assert said["hops"] == (["192.0.2.9 dev wan weight 2", "dev eth1"], [])
    assert said["remotes"] == (["a", "b"], [])
    assert written(said["hops"][0]) == '"192.0.2.9 dev wan weight 2","dev eth1"'
