"""Do what a plan says, many messages at once, and say of each action what became of it.

The actions keep the plan's order. Those of one kind that follow each other share the way to the kernel: it
answers each message, and a refusal stops neither those behind it nor other actions. A link is made in three
steps, so that it is smartxd's at each moment: it is born in a group of smartxd's, exclusively; it is looked
up by its name, and left alone if it is not the newborn one; then all that follows goes by its index, the
mark first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from smartxd.errors import PlaneError
from smartxd.planes.kernel import encode, l3, sysctl
from smartxd.planes.kernel.decode.links import basics
from smartxd.planes.kernel.observed import KernelObserved
from smartxd.planes.kernel.removal import LostMarkError, remove
from smartxd.planes.kernel.rtnl import RTM_GETLINK, Rtnl
from smartxd.planes.kernel.state import (
    NEWBORN_GROUP,
    Address,
    Bridge,
    Forwarding,
    Link,
    Plug,
    PortSettings,
    Route,
    Vlan,
    Vxlan,
    marked_owner,
)
from smartxd.planes.kernel.sysctl import Setting, Sysctls
from smartxd.planes.kernel.words import Request, index_of
from smartxd.reconcile.plan import Action, Plan, Problem, Result, Verb

_HINTS = {
    errno.EACCES: "the link has IPv6 switched off: `sysctl net.ipv6.conf` shows where",
    errno.EADDRNOTAVAIL: "no link can have a multicast address, or one of another family",
    errno.EADDRINUSE: "another program holds the VXLAN's UDP port: `ss -lun` shows it",
    errno.EBUSY: "something else holds the object; it is tried again",
    errno.EEXIST: "something else has the name, the address, the VNI or the route; the next look says what",
    errno.EINVAL: "an MTU must fit the underlay's less 50 bytes (70 over IPv6), an address its link",
    errno.ENETUNREACH: "the next hop is in no subnet of the box, or its link is down; it is tried again",
    errno.ENODEV: "a link has vanished in the meantime; it is tried again",
    errno.EOPNOTSUPP: "the kernel lacks the feature: `modprobe vxlan`, `modprobe bridge`, `modprobe 8021q`",
    errno.EHOSTUNREACH: "the next hop is in no subnet of the box, or its link is down; it is tried again",
    errno.ELOOP: "the link is, or is on, a bridge itself: correct the pattern of the port",
    errno.EROFS: "/proc/sys/net must be writable: see ReadWritePaths of the unit",
    errno.ENOBUFS: "for a multicast group: raise net.ipv4.igmp_max_memberships",
}
_LEAVING = frozenset({Verb.DELETE, Verb.RECREATE})
_MADE = frozenset({Verb.CREATE, Verb.RECREATE})

Failures = dict[int, Exception]
"""Why actions could not be done, by their place in the list that they came in."""


def apply(rtnl: Rtnl, sysctls: Sysctls, plan: Plan, observed: KernelObserved) -> Iterator[Result]:
    """Do the actions; PlaneError when this process may not change the network at all."""
    work = _Work(rtnl, sysctls, observed)
    # Links go first and together. What is recreated gives up its VNI before anything is made, so that two
    # tunnels can swap theirs; an address on a link that goes needs no message.
    failed = work.remove([a for a in plan.actions if a.verb in _LEAVING and isinstance(a.old, Link)])
    rest = [a for a in plan.actions if a.id not in failed and not _only_removed(a)]
    for _, run in groupby(rest, _kind):
        actions = list(run)
        failures = work.make(actions) if _makes_links(actions[0]) else work.change(actions)
        failed |= {actions[i].id: _problem(actions[i], err) for i, err in failures.items()}
    for action in plan.actions:
        yield Result(action, failed.get(action.id))


def _only_removed(action: Action) -> bool:
    return action.verb is Verb.DELETE and isinstance(action.old, Link)


def _makes_links(action: Action) -> bool:
    return action.verb in _MADE and isinstance(action.new, Link)


def _kind(action: Action) -> tuple[type, bool]:
    """What shares the way to the kernel."""
    return type(action.new or action.old), _makes_links(action)


class _Work:
    def __init__(self, rtnl: Rtnl, sysctls: Sysctls, observed: KernelObserved) -> None:
        self._rtnl, self._sysctls, self._observed = rtnl, sysctls, observed
        self._macs: dict[str, str] = {}
        self._indices = {link.name: link.index for link in observed.links.values()}

    def remove(self, actions: Sequence[Action]) -> dict[str, Problem]:
        """Remove the links of actions: why those that stay do, by the action's id."""
        planned = [link for a in actions if (link := self._observed.links.get(a.old.name)) is not None]
        outcomes = remove(self._rtnl, planned) if planned else {}
        problems: dict[str, Problem] = {}
        for action in actions:
            outcome = outcomes.get(action.old.name)
            if _forbidden(outcome):
                raise _not_permitted() from outcome
            if outcome is not None:
                problems[action.id] = _problem(action, outcome)
            else:
                self._indices.pop(action.old.name, None)
        return problems

    def make(self, actions: Sequence[Action]) -> Failures:
        """Make links; what is there already is only brought into shape."""
        wanted: dict[int, Link] = {i: a.new for i, a in enumerate(actions)}
        refused = self._send({i: partial(self._born_of, w) for i, w in wanted.items()})
        # That it exists may also be one of smartxd's that a crash has left; what is there says so.
        failures = {i: err for i, err in refused.items() if not isinstance(err, FileExistsError)}
        looked = [i for i in wanted if i not in failures]
        found = self._rtnl.gets(RTM_GETLINK, [encode.link_by_name(wanted[i].name) for i in looked])
        for i, payload in zip(looked, found, strict=True):
            err = self._born(wanted[i], payload, refused.get(i))
            if err is not None:
                failures[i] = err
        failures |= self._set({i: sysctl.settings(w) for i, w in wanted.items() if i not in failures})
        return failures | self._send(
            {i: partial(self._shape, w) for i, w in wanted.items() if i not in failures}
        )

    def _born(self, want: Link, payload: bytes | None, refusal: Exception | None) -> Exception | None:
        """Take in the index of a link that was made; why it is not smartxd's."""
        if payload is None:
            return refusal or OSError(errno.ENODEV, "it vanished as soon as it was made")
        born = basics(payload)
        if marked_owner(born.alias) is None and (born.alias or born.group != NEWBORN_GROUP):
            return LostMarkError(f"link {want.name} appeared in the meantime and is left alone")
        self._indices[want.name] = born.index
        self._macs[want.name] = born.mac
        return None

    def _born_of(self, want: Link) -> list[Request]:
        return [encode.new_link(want, self._indices)]

    def _shape(self, want: Link) -> list[Request]:
        index, mac = self._indices[want.name], self._macs[want.name]
        return [encode.marking(index, want.owner), *encode.finish(index, mac, want, self._indices)]

    def change(self, actions: Sequence[Action]) -> Failures:
        """Do actions that make no links."""
        there = dict(enumerate(actions))
        settings = {i: found for i, a in there.items() if (found := _settings_of(a))}
        # A link with an MTU under 1280 bytes has no IPv6, nor its settings: they come with the larger one.
        later = {i for i in settings if any(change.field == "mtu" for change in there[i].changes)}
        failures = self._set({i: found for i, found in settings.items() if i not in later})
        failures |= self._send({i: partial(self._requests, a) for i, a in there.items() if i not in failures})
        return failures | self._set({i: settings[i] for i in later - failures.keys()})

    def _requests(self, action: Action) -> list[Request]:
        old, new = action.old, action.new
        fields = {c.field for c in action.changes}
        if action.verb is Verb.UPDATE and fields == {"inventory"}:
            return []
        match new if new is not None else old:
            case Bridge() | Vlan() | Vxlan():
                return self._update(old, new, fields)
            case Plug():
                return self._plug(old, new)
            case Address():
                return self._address(old, new)
            case Route():
                gone = new is None
                return [l3.delete_route(old) if gone else l3.route(new, self._indices, replace=bool(old))]
        return []

    def _update(self, old: Link, want: Link, fields: set[str]) -> list[Request]:
        index = index_of(self._indices, want.name)
        marking = [encode.marking(index, want.owner)] if "alias" in fields else []
        names = {field.partition(".")[0] for field in fields}
        return [*marking, *encode.update(index, old, want, names, self._indices)]

    def _plug(self, old: Plug | None, want: Plug | None) -> list[Request]:
        if want is None:
            assert old is not None
            index = self._indices.get(old.link)
            return [] if index is None else [encode.unplug(index)]
        index, bridge = (index_of(self._indices, name) for name in (want.link, want.bridge))
        join = old is None or old.bridge != want.bridge
        before = PortSettings() if old is None or join else old.settings
        return encode.plug(index, bridge, before, want.settings, join=join)

    def _address(self, old: Address | None, want: Address | None) -> list[Request]:
        if want is not None:
            return [l3.add_address(index_of(self._indices, want.link), want)]
        assert old is not None
        index = self._indices.get(old.link)
        if index is None:
            return []
        # A loopback address has no secondaries: it is a subnet of its own. And a link that is not ours is not
        # ours to set up.
        link = self._observed.links.get(old.link)
        ours = link is not None and link.owner is not None
        return [*([encode.promote(index)] if ours else []), l3.delete_address(index, old)]

    def _set(self, settings: dict[int, list[Setting]]) -> Failures:
        flat = [(i, setting) for i, found in settings.items() for setting in found]
        outcomes = self._sysctls.write([setting for _, setting in flat])
        failures: Failures = {}
        for (i, setting), err in zip(flat, outcomes, strict=True):
            # Not every kernel has all of them, or IPv6; of a link that is gone nothing is to be undone.
            needless = isinstance(err, FileNotFoundError) and (setting.optional or not setting.value)
            if err is not None and not needless:
                failures.setdefault(i, err)
        return failures

    def _send(self, made: Mapping[int, Callable[[], list[Request]]]) -> Failures:
        """Send the requests of each action, in order; of each the first refusal that is one."""
        failures: Failures = {}
        flat: list[tuple[int, Request]] = []
        for i, make in made.items():
            try:
                flat += [(i, request) for request in make()]
            except OSError as missing:
                failures[i] = missing
        outcomes = self._rtnl.batch([(r.type, r.flags, r.body) for _, r in flat])
        for (i, request), err in zip(flat, outcomes, strict=True):
            if _forbidden(err):
                raise _not_permitted() from err
            if err is not None and err.errno not in request.fine:
                failures.setdefault(i, err)
        return failures


def _settings_of(action: Action) -> list[Setting]:
    """The settings that a change of a link, or of its forwarding, is made by."""
    old, new = action.old, action.new
    if isinstance(new or old, Forwarding):
        one: Forwarding = new or old
        return sysctl.forwarding(one.family, one.link, new is not None)
    if action.verb is not Verb.UPDATE or not isinstance(new, Link):
        return []
    return sysctl.settings(new, {c.field for c in action.changes})


def _problem(action: Action, err: Exception) -> Problem:
    """Why an action could not be done, and what may be done about it."""
    if not isinstance(err, OSError):
        return Problem(action.owner, "ForeignObject", f"{action.id}: {err}")
    code = err.errno or 0
    name = errno.errorcode.get(code, str(code))
    text = f"{action.id}: the kernel refused to {action.verb} it: {err.strerror} ({name})"
    hint = _HINTS.get(code, "`dmesg` may say why")
    if code == errno.EEXIST and isinstance(action.new, Route):
        text = f"{action.id}: there is such a route that is not smartxd's, and it is left alone"
        hint = f"`ip route show {action.new.destination}` shows it; delete it, or give another metric"
        return Problem(action.owner, "ForeignObject", f"{text}: {hint}")
    reason = "NotSupported" if code == errno.EOPNOTSUPP else "KernelRefused"
    return Problem(action.owner, reason, f"{text}: {hint}")


def _forbidden(err: Exception | None) -> bool:
    """Whether the process may not do it; EACCES, also a PermissionError, is about one object."""
    return isinstance(err, OSError) and err.errno == errno.EPERM


def _not_permitted() -> PlaneError:
    return PlaneError(
        "NotPermitted",
        "this process may not change the network of the box",
        "run smartxd as root, or with CAP_NET_ADMIN",
    )
