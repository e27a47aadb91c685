"""Do what a plan says: one netlink message after the other, and say of each action what became of it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from smartxd.errors import PlaneError
from smartxd.planes.kernel.observe import observe_link_named
from smartxd.planes.kernel.observed import KernelObserved, ObservedLink
from smartxd.planes.kernel.removal import LostMarkError, remove
from smartxd.planes.kernel.rtnl import (
    CHANGE,
    CREATE,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
    Rtnl,
)
from smartxd.planes.kernel.state import ADDRESS_PROTOCOL, NEWBORN_GROUP, Address, Bridge, Link, Vxlan, mark
from smartxd.reconcile.plan import Action, Plan, Problem, Result, Verb

IFF_UP = 0x1

# Attributes of linux/if_link.h and linux/ip.h, one in the other, that pyroute2 has no words for:
# IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_PROMOTE_SECONDARIES.
_PROMOTE_SECONDARIES = struct.pack("=8HI", 20, 26, 16, AF_INET, 12, 1, 8, 20, 1)
_IFINFOMSG = struct.Struct("=4xi8x")

_HINTS = {
    errno.EADDRINUSE: "another program holds the VXLAN's UDP port: `ss -lun` shows it",
    errno.EBUSY: "something else holds the object; it is tried again",
    errno.EEXIST: "something else has the name, the address or the VNI; the next look says what",
    errno.EINVAL: "an MTU must fit the underlay's less 50 bytes (70 over IPv6), an address its link",
    errno.ENODEV: "a link has vanished in the meantime; it is tried again",
    errno.EOPNOTSUPP: "the kernel lacks the feature: `modprobe vxlan`, `modprobe bridge`",
}
_GONE = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT})


_LEAVING = frozenset({Verb.DELETE, Verb.RECREATE})


def apply(rtnl: Rtnl, plan: Plan, observed: KernelObserved) -> Iterator[Result]:
    """Do the actions; PlaneError when this process may not change the network at all."""
    work = _Work(rtnl, observed)
    # Links go first and together. What is recreated gives up its VNI before anything is made, so that two
    # tunnels can swap theirs; an address on a link that goes needs no message.
    leaving = [a for a in plan.actions if a.verb in _LEAVING and not isinstance(a.old, Address)]
    failed = work.remove(leaving)
    for action in plan.actions:
        problem = failed.get(action.id)
        if problem is None and (action.verb is not Verb.DELETE or isinstance(action.old, Address)):
            problem = work.try_(action, work.step(action))
        yield Result(action, problem)


class _Work:
    def __init__(self, rtnl: Rtnl, observed: KernelObserved) -> None:
        self._rtnl = rtnl
        self._observed = observed
        self._indices = {link.name: link.index for link in observed.links.values()}

    def try_(self, action: Action, step: Callable[[Action], None]) -> Problem | None:
        """Do a step; the problem says why it could not be done."""
        try:
            step(action)
        except PermissionError as err:
            raise _not_permitted() from err
        except (LostMarkError, OSError) as err:
            return _problem(action, err)
        return None

    def step(self, action: Action) -> Callable[[Action], None]:
        """How an action is done that is not the removal of a link."""
        if action.verb is Verb.DELETE:
            return self.delete_address
        return self.update if action.verb is Verb.UPDATE else self.create

    def remove(self, actions: Sequence[Action]) -> dict[str, Problem]:
        """Remove the links of actions: why those that stay do, by the action's id."""
        planned = [link for a in actions if (link := self._observed.links.get(a.old.name)) is not None]
        outcomes = remove(self._rtnl, planned) if planned else {}
        problems: dict[str, Problem] = {}
        for action in actions:
            outcome = outcomes.get(action.old.name)
            if isinstance(outcome, PermissionError):
                raise _not_permitted() from outcome
            if outcome is not None:
                problems[action.id] = _problem(action, outcome)
            else:
                self._indices.pop(action.old.name, None)
        return problems

    def create(self, action: Action) -> None:
        """Make what the action wants; what is there already is only brought into shape."""
        want = action.new
        if isinstance(want, Address):
            self._add_address(want)
            return
        have = self._make(want)
        self._indices[want.name] = have.index
        # The mark comes first, so that no failure after it leaves a link that is nobody's.
        self._set(have.index, _marking(want))
        if isinstance(want, Bridge):
            self._keep_secondaries(have.index)
        port = [("IFLA_MASTER", self._index(want.bridge))] if isinstance(want, Vxlan) else []
        self._set(have.index, port, up=True)
        if have.mtu != want.mtu:
            self._set(have.index, [("IFLA_MTU", want.mtu)])

    def _make(self, want: Link) -> ObservedLink:
        refusal: OSError | None = None
        try:
            self._rtnl.request(RTM_NEWLINK, self._new_link(want), CREATE)
        except FileExistsError as err:
            refusal = err
        have = observe_link_named(self._rtnl, want.name)
        if have is None:
            raise refusal or OSError(errno.ENODEV, "it vanished as soon as it was made")
        if not have.newborn and have.owner is None:
            raise LostMarkError(f"link {want.name} appeared in the meantime and is left alone")
        return have

    def _new_link(self, want: Link) -> Any:
        info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", "bridge")]
        attrs: list[tuple[str, Any]] = [("IFLA_IFNAME", want.name), ("IFLA_GROUP", NEWBORN_GROUP)]
        if isinstance(want, Vxlan):
            v6 = "6" if ":" in want.local else ""
            data = [
                ("IFLA_VXLAN_ID", want.vni),
                (f"IFLA_VXLAN_GROUP{v6}", want.group),
                (f"IFLA_VXLAN_LOCAL{v6}", want.local),
                ("IFLA_VXLAN_LINK", self._index(want.underlay)),
                ("IFLA_VXLAN_PORT", want.port),
                ("IFLA_VXLAN_TTL", want.ttl),
                ("IFLA_VXLAN_LEARNING", int(want.learning)),
            ]
            info = [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]
            attrs.append(("IFLA_MTU", want.mtu))
        # A bridge keeps the kernel's defaults: no STP, and multicast snooping, which floods as long as nobody
        # queries. Its MTU is set later: only then does the kernel leave it alone when ports come and go.
        return _ifinfmsg(0, [*attrs, ("IFLA_LINKINFO", {"attrs": info})])

    def update(self, action: Action) -> None:
        """Set the fields that the action changes."""
        fields = {c.field for c in action.changes}
        want = action.new
        if isinstance(want, Address) or fields == {"inventory"}:
            return
        index = self._index(want.name)
        if "alias" in fields:
            self._set(index, _marking(want))
        attrs: list[tuple[str, Any]] = []
        if "mtu" in fields:
            attrs.append(("IFLA_MTU", want.mtu))
        if isinstance(want, Vxlan):
            if "bridge" in fields:
                attrs.append(("IFLA_MASTER", self._index(want.bridge)))
            if fields & {"ttl", "learning"}:
                data = [("IFLA_VXLAN_TTL", want.ttl), ("IFLA_VXLAN_LEARNING", int(want.learning))]
                info = [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]
                attrs.append(("IFLA_LINKINFO", {"attrs": info}))
        if attrs or "up" in fields:
            self._set(index, attrs, up="up" in fields)

    def _add_address(self, want: Address) -> None:
        message = self._ifaddrmsg(want)
        message["attrs"].append(("IFA_PROTO", ADDRESS_PROTOCOL))
        try:
            self._rtnl.request(RTM_NEWADDR, message, CREATE)
        except FileExistsError:
            return

    def delete_address(self, action: Action) -> None:
        """Delete the action's address; one that went with its link is gone."""
        old: Address = action.old
        if old.link not in self._indices:
            return
        # A loopback address has no secondaries: it is a subnet of its own. And a link that is not ours is not
        # ours to set up.
        link = self._observed.links.get(old.link)
        with _unless_gone():
            if link is not None and link.owner is not None:
                self._keep_secondaries(link.index)
            self._rtnl.request(RTM_DELADDR, self._ifaddrmsg(old), CHANGE)

    def _keep_secondaries(self, index: int) -> None:
        """Let the other IPv4 addresses of a subnet, whoever made them, outlive its first one on the link."""
        self._rtnl.change(RTM_NEWLINK, _IFINFOMSG.pack(index) + _PROMOTE_SECONDARIES)

    def _set(self, index: int, attrs: list[tuple[str, Any]], *, up: bool = False) -> None:
        self._rtnl.request(RTM_NEWLINK, _ifinfmsg(index, attrs, up=up), CHANGE)

    def _index(self, name: str) -> int:
        if name not in self._indices:
            raise OSError(errno.ENODEV, f"link {name} is not there")
        return self._indices[name]

    def _ifaddrmsg(self, address: Address) -> Any:
        interface = ip_interface(address.address)
        message = ifaddrmsg()
        message["family"] = AF_INET if interface.version == 4 else AF_INET6
        message["prefixlen"] = interface.network.prefixlen
        message["index"] = self._index(address.link)
        message["attrs"] = [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))]
        return message


def _problem(action: Action, err: Exception) -> Problem:
    """Why an action could not be done, and what may be done about it."""
    if not isinstance(err, OSError):
        return Problem(action.owner, "ForeignObject", f"{action.id}: {err}")
    name = errno.errorcode.get(err.errno or 0, str(err.errno))
    text = f"{action.id}: the kernel refused to {action.verb} it: {err.strerror} ({name})"
    return Problem(
        action.owner, "KernelRefused", f"{text}: {_HINTS.get(err.errno or 0, '`dmesg` may say why')}"
    )


def _not_permitted() -> PlaneError:
    return PlaneError(
        "NotPermitted",
        "this process may not change the network of the box",
        "run smartxd as root, or with CAP_NET_ADMIN",
    )


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Deleting what is gone is not an error."""
    try:
        yield
    except OSError as err:
        if err.errno not in _GONE:
            raise


def _ifinfmsg(index: int, attrs: list[tuple[str, Any]], *, up: bool = False) -> Any:
    message = ifinfmsg()
    message["index"] = index
    message["flags"] = message["change"] = IFF_UP if up else 0
    message["attrs"] = attrs
    return message


def _marking(want: Link) -> list[tuple[str, Any]]:
    return [("IFLA_IFALIAS", mark(want.owner)), ("IFLA_GROUP", 0)]
