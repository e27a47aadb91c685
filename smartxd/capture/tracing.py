"""All trace policies of the box, as the manifest names them: drains each, and says what each has counted."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from smartxd import bpfsys, secretfile
from smartxd.capture.conceal import Conceal, concealer
from smartxd.capture.drain import Drain, PacketDrain, RowCounts, Store, flow_time_outs
from smartxd.capture.flowkeys import FlowKeys
from smartxd.capture.kernelnames import KernelNames
from smartxd.capture.layout import DIRECTIONS, DROPPED, TCP
from smartxd.capture.maps import CONNECTIONS, DROPS, GracePeriod, OtherRelease, PolicyMaps
from smartxd.capture.pace import Load, next_one_in
from smartxd.capture.ring import Ring
from smartxd.errors import SecretError, SmartxError, StoreError
from smartxd.manifest import Manifest, TracedPolicy
from smartxd.report import TracerReport, UndrainedReport
from smartxd.store.captures import StoreLost
from smartxd.terms import Retention

_MISSED = {DROPS: "dropped packets", CONNECTIONS: "events of TCP"}

Place = tuple[str, str]
"""An interface by name, and a direction."""


@dataclass(slots=True)
class _Counted:
    packets: int = 0
    bytes: int = 0
    filtered_packets: int = 0
    sampled_out_packets: int = 0
    lost_packets: int = 0
    truncated_skbs: int = 0
    malformed_skbs: int = 0
    ring_full_packets: int = 0
    flows: int = 0
    records: int = 0


@dataclass(slots=True)
class _Traced:
    maps: PolicyMaps
    ring: Ring
    policy: TracedPolicy
    flows: RowCounts = field(default_factory=RowCounts)
    records: RowCounts = field(default_factory=RowCounts)
    """Rows of packets since the last report."""
    packets: dict[Place, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    """Events at which a program could not be run, by what it counts, as far as that was said."""
    at_s: float | None = None
    """When ``packets`` was true, by the monotonic clock; None before the first time."""
    drained_s: float = 0.0
    """Of a CPU, that its drains have taken since the load was last looked at."""
    spent: tuple[float, int] | None = None
    """When that was, by the monotonic clock, and the programs' run time up to then."""

    def close(self) -> None:
        self.ring.close()
        self.maps.close()


class Tracing:
    """The open maps of all policies, from one round to the next."""

    def __init__(self, store: Store, warn: Callable[[str], None], secrets_dir: Path) -> None:
        """``warn`` is told a line when a policy begins to fail, and again when the reason changes.

        ``secrets_dir`` has the keys with which pseudonyms are made.
        """
        self._secrets_dir = secrets_dir
        self._own_key = os.urandom(32).hex()
        self._store = store
        self._warn = warn
        self._grace = GracePeriod()
        self._names = KernelNames()
        self._flow_keys = FlowKeys()
        self._open: dict[str, _Traced] = {}
        self._epoll = select.epoll()
        self._failing: dict[str, UndrainedReport] = {}
        """By incarnation."""
        self.retentions: dict[str, Retention | None] = {}
        """How long to keep the rows of each policy that the last round has drained."""

    def close(self) -> None:
        """Let go of all maps."""
        for traced in self._open.values():
            traced.close()
        self._open.clear()
        self._epoll.close()
        self._grace.close()

    def drain(self, manifest: Manifest) -> tuple[TracerReport, ...]:
        """Drain every policy, drop those that are retired, report on the rest; one never stops another."""
        for gone in self._open.keys() - {p.incarnation for p in manifest.policies}:
            self._forget(gone)
        self.retentions = {}
        reports: list[TracerReport] = []
        for policy in sorted(manifest.policies, key=lambda p: p.retired):
            if policy.retired and not policy.pin_dir.exists():
                continue  # done; the trace plane has not looked since
            with self._noted(policy):
                traced = self._opened(policy)
                if traced is not None:
                    self.retentions.setdefault(policy.name, traced.maps.terms().retention)
                    reports += self._drain(traced)
                    self._failing.pop(policy.incarnation, None)
        try:
            self._store.end_flows_except(self._open.keys())
        except StoreLost:
            raise
        except StoreError as err:
            self._warn(err.line)
        self._failing = {
            i: m for i, m in self._failing.items() if i in {p.incarnation for p in manifest.policies}
        }
        return tuple(reports)

    @property
    def undrained(self) -> tuple[UndrainedReport, ...]:
        """The policies that could not be drained in the last round, and why."""
        return tuple(self._failing.values())

    def attend(self, timeout_s: float, stop_fd: int) -> None:
        """Store packets as rings fill, until the time is up or ``stop_fd`` can be read."""
        ends_s = time.monotonic() + timeout_s
        self._epoll.register(stop_fd, select.EPOLLIN)
        try:
            while (left_s := ends_s - time.monotonic()) > 0:
                ready = {fd for fd, _ in self._epoll.poll(left_s)}
                if stop_fd in ready:
                    return
                for traced in [t for t in self._open.values() if t.ring.fd in ready]:
                    with self._noted(traced.policy):
                        self._drain_ring(traced)
        finally:
            self._epoll.unregister(stop_fd)

    @contextmanager
    def _noted(self, policy: TracedPolicy) -> Iterator[None]:
        """What fails in one policy is warned of, once, and never stops another."""
        try:
            yield
        except StoreLost:
            raise
        except (OSError, SmartxError) as err:
            self._fails(policy, err.line if isinstance(err, SmartxError) else str(err))

    def _drain_ring(self, traced: _Traced) -> bool:
        """Store the packets that wait; whether there were any."""
        begun_s = time.thread_time()
        rows = PacketDrain(traced.ring, self._store, conceal=self._concealer(traced)).run(traced.policy)
        traced.drained_s += time.thread_time() - begun_s
        traced.records += rows
        return bool(rows)

    def _opened(self, policy: TracedPolicy) -> _Traced | None:
        """The maps of the policy; None where there are none that could be read, now or ever."""
        traced = self._open.get(policy.incarnation)
        if traced is None:
            try:
                traced = _traced(policy)
            except (FileNotFoundError, OtherRelease) as err:
                why = f"maps are missing in {policy.pin_dir}" if isinstance(err, OSError) else err.line
                if policy.retired:
                    self._warn(f"policy {policy.name}: what its old build held last is discarded: {why}")
                    bpfsys.remove_pins(policy.pin_dir)
                else:
                    self._fails(policy, why)
                return None
            self._open[policy.incarnation] = traced
            # By edges: a ring that holds something is not news, but that the kernel says it fills.
            self._epoll.register(traced.ring.fd, select.EPOLLIN | select.EPOLLET)
        traced.policy = policy
        return traced

    def _drain(self, traced: _Traced) -> tuple[TracerReport, ...]:
        policy = traced.policy
        try:
            conceal = self._concealer(traced)
        except SecretError:
            self._end_flows(traced)  # what was stored before ends without a key
            raise
        drain = Drain(
            *(traced.maps, self._store, self._grace),
            conceal=conceal,
            names=self._names,
            flow_keys=self._flow_keys,
        )
        begun_s = time.thread_time()
        traced.flows = drain.run(policy)
        if not traced.flows:  # else they have ended with the drain
            self._end_flows(traced)
        traced.drained_s += time.thread_time() - begun_s - drain.told_s
        self._drain_ring(traced)
        self._say_missed(traced)
        if not policy.retired:
            self._keep_to_budget(traced, drain)
            return _report(traced)
        # Nothing runs any more: when nothing new has come, that was the last of it.
        self._grace.wait()
        while drain.run(policy) or self._drain_ring(traced):
            pass
        self._forget(policy.incarnation)
        bpfsys.remove_pins(policy.pin_dir)
        return ()

    def _end_flows(self, traced: _Traced) -> None:
        maps = traced.maps
        time_outs = flow_time_outs(maps, traced.policy, maps.sampled_one_in(maps.generation))
        self._store.end_flows(traced.policy.incarnation, time_outs)

    def _concealer(self, traced: _Traced) -> Conceal | None:
        """What to store for an address; SecretError without the key: in clear it is not stored.

        Of a policy that is retired nobody will bring the key any more: its last rows get pseudonyms of one
        that ends with this process, as do the digests of packets where a policy names no key.
        """
        privacy = traced.maps.terms().privacy
        if privacy is None:
            return None
        try:
            key = secretfile.read(self._secrets_dir / privacy.key) if privacy.key else self._own_key
        except SecretError:
            if not traced.policy.retired:
                raise
            key = self._own_key
        return concealer(privacy, key)

    def _keep_to_budget(self, traced: _Traced, drain: Drain) -> None:
        """Sample as coarsely as the budget wants it after what was recorded since the last time."""
        maps, terms = traced.maps, traced.maps.terms()
        before, traced.spent = traced.spent, (time.monotonic(), maps.run_time_ns())
        drained_s, traced.drained_s = traced.drained_s, 0.0
        if before is None:
            return
        elapsed_s, run_s = traced.spent[0] - before[0], (traced.spent[1] - before[1]) / 1e9
        rows = traced.flows + traced.records
        # Those that a coarser interval would make fewer, and their part of the drains.
        sampled = sum(count for (_, direction), count in rows.items() if direction not in (DROPPED, TCP))
        part = sampled / rows.total() if rows else 1.0
        load = Load(elapsed_s, run_s + drained_s * part, sampled)
        one_in = maps.sampled_one_in(maps.generation)
        wanted = next_one_in(terms, one_in, load)
        if wanted != one_in:
            traced.flows += drain.run(traced.policy, wanted)
            self._warn(
                f"policy {traced.policy.name}: one packet in {wanted} is recorded, it was one in {one_in}: "
                f"{load} of {terms.budget or 'no budget'}"
            )

    def _say_missed(self, traced: _Traced) -> None:
        for told, word in _MISSED.items():
            missed = traced.maps.missed(told)
            if missed > traced.missed.get(told.name, 0):
                traced.missed[told.name] = missed
                self._warn(
                    f"policy {traced.policy.name}: of {missed} {word}, of whatever interface, the kernel"
                    " said nothing: they came in an interrupt, while it told of another one"
                )

    def _forget(self, incarnation: str) -> None:
        traced = self._open.pop(incarnation, None)
        if traced is not None:
            traced.close()

    def _fails(self, policy: TracedPolicy, message: str) -> None:
        fault = UndrainedReport(policy=policy.name, message=message)
        if self._failing.get(policy.incarnation) != fault:
            self._failing[policy.incarnation] = fault
            self._warn(f"policy {policy.name}: not drained, its maps keep what they hold: {message}")


def _traced(policy: TracedPolicy) -> _Traced:
    maps = PolicyMaps(policy.pin_dir)
    try:
        return _Traced(maps, Ring(policy.pin_dir), policy)
    except BaseException:
        maps.close()
        raise


def _count(traced: _Traced) -> dict[Place, _Counted]:
    """What each place has counted: the totals, and the rows since the last report."""
    policy = traced.policy
    names = {interface.ifindex: interface.name for interface in policy.interfaces}
    alive = {ifindex for ifindex, _ in socket.if_nameindex()}
    counted: dict[Place, _Counted] = {
        (interface.name, direction): _Counted()
        for interface in policy.interfaces
        for direction in interface.directions
    }
    totals = traced.maps.totals()
    for key, value in zip(totals.keys, totals.values, strict=True):
        if int(key["ifindex"]) not in names:
            # Not yet in the manifest, or no longer. The map has room for a bounded number.
            if int(key["ifindex"]) not in alive:
                traced.maps.forget_total(key)
            continue
        direction = DIRECTIONS[int(key["direction"])]
        place = counted.setdefault((names[int(key["ifindex"])], direction), _Counted())
        place.packets += int(value["sum"]["seen_packets"])
        place.bytes += int(value["sum"]["seen_bytes"])
        place.filtered_packets += int(value["sum"]["filtered_packets"])
        place.sampled_out_packets += int(value["sum"]["sampled_out_packets"])
        place.lost_packets += int(value["sum"]["overflow_packets"])
        place.truncated_skbs += int(value["sum"]["truncated_skbs"])
        place.malformed_skbs += int(value["sum"]["malformed_skbs"])
        place.ring_full_packets += int(value["sum"]["ring_full_packets"])
    for what in ("flows", "records"):
        for (ifindex, direction), rows in getattr(traced, what).items():
            if ifindex in names:
                place = counted.setdefault((names[ifindex], direction), _Counted())
                setattr(place, what, getattr(place, what) + rows)
    return counted


def _report(traced: _Traced) -> tuple[TracerReport, ...]:
    policy, counted = traced.policy, _count(traced)
    attached = {(i.name, d) for i in policy.interfaces if i.attached for d in i.directions}
    one_in, asked = traced.maps.sampled_one_in(traced.maps.generation), traced.maps.terms().one_in
    now_s = time.monotonic()
    elapsed_s = now_s - traced.at_s if traced.at_s is not None else 0.0
    reports = tuple(
        TracerReport(
            policy=policy.name,
            interface=place[0],
            direction=place[1],
            attached=place in attached,
            packets=c.packets,
            bytes=c.bytes,
            filtered_packets=c.filtered_packets,
            sampled_out_packets=c.sampled_out_packets,
            sampled_one_in=one_in,
            asked_one_in=asked,
            lost_packets=c.lost_packets,
            ring_full_packets=c.ring_full_packets,
            truncated_skbs=c.truncated_skbs,
            malformed_skbs=c.malformed_skbs,
            packets_per_s=max(0, c.packets - traced.packets.get(place, 0)) / elapsed_s if elapsed_s else 0.0,
            flows=c.flows,
            records=c.records,
        )
        for place, c in sorted(counted.items())
    )
    traced.packets = {place: c.packets for place, c in counted.items()}
    traced.records = RowCounts()
    traced.at_s = now_s
    return reports
