"""What tracers will find when the kernel's plan has been done: pure."""

from __future__ import annotations

import itertools
from dataclasses import replace

from smartxd.planes.kernel.state import Link
from smartxd.planes.trace.state import Interface, TraceObserved
from smartxd.reconcile.plan import Plan, Verb


def after(kernel: Plan, observed: TraceObserved) -> TraceObserved:
    """``observed`` with the links that the plan makes, and without those that it deletes.

    A link that is made anew is another one: what ran on it is gone. The new links' indexes are made up.
    """
    interfaces = dict(observed.interfaces)
    free = itertools.count(1 + max((i.ifindex for i in interfaces.values()), default=0))
    for action in kernel.actions:
        if action.verb is Verb.UPDATE or not isinstance(action.new or action.old, Link):
            continue
        if action.old is not None:
            interfaces.pop(action.old.name, None)
        if action.new is not None:
            interfaces[action.new.name] = Interface(next(free), ethernet=True)
    there = {(name, interface.ifindex) for name, interface in interfaces.items()}
    policies = tuple(
        replace(p, attachments=frozenset(a for a in p.attachments if (a.interface, a.ifindex) in there))
        for p in observed.policies
    )
    return replace(observed, policies=policies, interfaces=interfaces)
