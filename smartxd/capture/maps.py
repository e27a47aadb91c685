"""The pinned maps of one policy, as numpy arrays."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartxd import bpfsys, terms
from smartxd.capture.decode import Records
from smartxd.capture.layout import (
    CONNECTION_KEY,
    CONNECTION_VALUE,
    COST,
    COST_ONE_IN,
    DROP_KEY,
    FLOW_KEY,
    FLOW_VALUE,
    LEDGER_ENTRY,
    LEDGER_KEY,
    LEDGER_VALUE,
    PLAIN_FLOW,
    TOTAL_VALUE,
    widen,
)
from smartxd.errors import StoreError
from smartxd.terms import Terms


@dataclass(frozen=True, slots=True)
class Told:
    """What programs on the kernel's tracepoints count, into two maps that a policy may lack."""

    name: str
    key: np.dtype[Any]
    value: np.dtype[np.void]
    programs: tuple[str, ...]
    """Without those that are not told of each event anyway."""


DROPS = Told("drops", DROP_KEY, FLOW_VALUE, ("dropped",))
CONNECTIONS = Told(
    *("tcp", CONNECTION_KEY, CONNECTION_VALUE),
    (
        "tcp_retransmit_skb",
        "tcp_retransmit_synack",
        "tcp_send_reset",
        "tcp_receive_reset",
        "inet_sock_set_state",
    ),
)
TOLD = (DROPS, CONNECTIONS)

_SETS = ("flows", "slots", "ledger")
"""The maps of which there are two."""
_NAMES = (
    *(f"{name}{bit}" for name in _SETS for bit in (0, 1)),
    "plain",
    "totals",
    "generation",
    "sampling",
    "cost",
)
_INDEX = np.dtype("u4")
_COUNTERS = len(LEDGER_VALUE.names or ())
_ZERO = struct.pack("=I", 0)


@dataclass(frozen=True, slots=True)
class Entries:
    """What a map holds: keys and values, row by row."""

    keys: Records
    values: Records

    def __len__(self) -> int:
        return len(self.keys)


class OtherRelease(StoreError):
    """Another release of smartxd made the maps: their records are not ours."""


class PolicyMaps:
    """The maps that a policy's programs write: two sets, by bit 0 of a generation, and the running totals."""

    def __init__(self, pin_dir: Path) -> None:
        """Open them; FileNotFoundError when they are not pinned, OtherRelease when they cannot be read."""
        self._fds: dict[str, int] = {}
        self._cpus = bpfsys.possible_cpus()
        try:
            self._open(pin_dir)
            self.flows_max = self._check("flows0", FLOW_KEY, FLOW_VALUE)
            self._plain_max = self._check("plain", _INDEX, PLAIN_FLOW) // 2
            self._slots = self._check("slots0", _INDEX, LEDGER_ENTRY)
            self._ledger_max = self._check("ledger0", LEDGER_KEY, LEDGER_ENTRY)
            self._check("totals", LEDGER_KEY, TOTAL_VALUE)
            self._check("cost", _INDEX, COST)
            self._check(terms.PIN, _INDEX, np.dtype(f"V{terms.RECORD_BYTES}"))
            self._told = {told: self._open_told(pin_dir, told) for told in TOLD}
        except BaseException:
            self.close()
            raise

    def _open(self, pin_dir: Path) -> None:
        for name in (*_NAMES, terms.PIN):
            try:
                self._fds[name] = bpfsys.open_pin(pin_dir / name)
            except FileNotFoundError as err:
                if not (pin_dir / "generation").exists():
                    raise
                raise OtherRelease(
                    f"map {name} is missing: another release of smartxd made the others, or it was removed",
                    "restart smartxd, which builds them anew",
                ) from err

    def close(self) -> None:
        """Let go of the maps; they live on where they are pinned."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    @property
    def generation(self) -> int:
        """The generation that is written now."""
        value = bpfsys.lookup(self._fds["generation"], _ZERO, 8)
        assert value is not None  # an array has all its entries
        return int.from_bytes(value, "little" if struct.pack("=H", 1)[0] else "big")

    @generation.setter
    def generation(self, value: int) -> None:
        bpfsys.update(self._fds["generation"], _ZERO, struct.pack("=Q", value))

    def sampled_one_in(self, generation: int) -> int:
        """The sampling interval of a generation."""
        value = bpfsys.lookup(self._fds["sampling"], struct.pack("=I", generation & 1), 4)
        assert value is not None  # an array has all its entries
        return int(struct.unpack("=I", value)[0])

    def sample_one_in(self, generation: int, one_in: int) -> None:
        """Set the sampling interval of a generation that is not yet written, and all before it settled."""
        bpfsys.update(self._fds["sampling"], struct.pack("=I", generation & 1), struct.pack("=I", one_in))

    def terms(self) -> Terms:
        """What the policy asks for."""
        return Terms.unpacked(bpfsys.lookup(self._fds[terms.PIN], _ZERO, terms.RECORD_BYTES) or b"")

    def run_time_ns(self) -> int:
        """About how long the policy's programs have run, on all CPUs; 0 of one without a budget of CPU."""
        costs = self._read("cost", _INDEX, np.dtype((COST, (self._cpus,))), 1).values
        return COST_ONE_IN * int(costs["measured_ns"].sum())

    def flows(self, generation: int) -> Entries:
        """The flows of a generation, which must be idle: else the maps change under the reader."""
        entries = self._plain(generation)
        plain = entries[entries["key"]["place"] != 0]
        others = self._read(f"flows{generation & 1}", FLOW_KEY, FLOW_VALUE, self.flows_max)
        keys = np.concatenate([widen(plain["key"]), others.keys])
        return Entries(keys, np.concatenate([plain["value"], others.values]))

    def told(self, told: Told, generation: int) -> Entries:
        """What the kernel told in an idle generation, as ``flows`` gives flows; none if not asked."""
        return self._read_told(told, generation, remove=False)

    def ledger(self, generation: int) -> Entries:
        """What was seen and lost in a generation, by interface and direction, the sum of all CPUs."""
        slots = self._slot_entries(generation).ravel()
        slots = slots[slots["key"]["ifindex"] != 0]
        behind = self._read(f"ledger{generation & 1}", LEDGER_KEY, self._per_cpu, self._ledger_max)
        keys = np.concatenate([slots["key"], np.repeat(behind.keys, self._cpus)])
        values = np.concatenate([slots["value"], behind.values["value"].ravel()])
        unique, places = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(unique), _COUNTERS), "u8")
        np.add.at(sums, places, np.ascontiguousarray(values).view("u8").reshape(-1, _COUNTERS))
        return Entries(unique, sums.view(LEDGER_VALUE).reshape(-1))

    def totals(self) -> Entries:
        """All generations up to ``generation`` of each entry, added up."""
        return self._read("totals", LEDGER_KEY, TOTAL_VALUE, self._ledger_max)

    def add_to_totals(self, generation: int, ledger: Entries) -> None:
        """Add a generation's ledger; what holds this generation already is left as it is."""
        for key, value in zip(ledger.keys, ledger.values, strict=True):
            raw = bpfsys.lookup(self._fds["totals"], key.tobytes(), TOTAL_VALUE.itemsize)
            total = np.zeros((), TOTAL_VALUE) if raw is None else np.frombuffer(raw, TOTAL_VALUE)[0].copy()
            if raw is not None and total["generation"] >= generation:
                continue
            total["generation"] = generation
            for name in LEDGER_VALUE.names or ():
                total["sum"][name] += value[name]
            bpfsys.update(self._fds["totals"], key.tobytes(), total.tobytes())

    def forget_total(self, key: Records) -> None:
        """Drop the totals of an interface and direction."""
        bpfsys.delete(self._fds["totals"], key.tobytes())

    def empty_flows(self, generation: int) -> None:
        """Remove the flows of an idle generation."""
        # All, not those that are taken: killed within one, the next time would not know that it is.
        self._plain(generation).view("u1")[:] = 0
        self._read(f"flows{generation & 1}", FLOW_KEY, FLOW_VALUE, self.flows_max, remove=True)

    def missed(self, told: Told) -> int:
        """Events, of any interface, at which a program could not be run: it was running, and interrupted."""
        programs = (self._fds.get(name) for name in told.programs)
        return sum(bpfsys.missed_runs(program) for program in programs if program is not None)

    def empty_told(self, generation: int) -> None:
        """Remove what the kernel told in an idle generation."""
        for told in TOLD:
            self._read_told(told, generation, remove=True)

    def empty_ledger(self, generation: int) -> None:
        """Remove the ledger of an idle generation."""
        self._read(f"ledger{generation & 1}", LEDGER_KEY, self._per_cpu, self._ledger_max, remove=True)
        taken = self._slot_entries(generation)["key"]["ifindex"].any(axis=1)
        nobodys = bytes(self._per_cpu.itemsize)
        for index in np.flatnonzero(taken).astype(_INDEX):
            bpfsys.update(self._fds[f"slots{generation & 1}"], index.tobytes(), nobodys)

    def _open_told(self, pin_dir: Path, told: Told) -> int:
        """The entries of the maps, 0 where the policy does not ask."""
        try:
            for name in (f"{told.name}0", f"{told.name}1", *told.programs):
                self._fds[name] = bpfsys.open_pin(pin_dir / name)
        except FileNotFoundError:
            return 0
        return self._check(f"{told.name}0", told.key, told.value)

    def _plain(self, generation: int) -> Records:
        """The entries of plain flows of a generation, in place: mapped for as long as somebody has them."""
        area = mmap.mmap(self._fds["plain"], 2 * self._plain_max * PLAIN_FLOW.itemsize)
        halves: Records = np.frombuffer(area, PLAIN_FLOW).reshape(2, self._plain_max)
        return halves[generation & 1, :]

    def _read_told(self, told: Told, generation: int, *, remove: bool) -> Entries:
        count = self._told[told]
        if not count:
            return Entries(np.empty(0, told.key), np.empty(0, told.value))
        return self._read(f"{told.name}{generation & 1}", told.key, told.value, count, remove=remove)

    @property
    def _per_cpu(self) -> np.dtype[np.void]:
        return np.dtype((LEDGER_ENTRY, (self._cpus,)))

    def _slot_entries(self, generation: int) -> Records:
        """All slots of a generation, a row for each and a column for each CPU."""
        return self._read(f"slots{generation & 1}", _INDEX, self._per_cpu, self._slots).values

    def _read(
        self, name: str, key: np.dtype[Any], value: np.dtype[np.void], count: int, *, remove: bool = False
    ) -> Entries:
        keys, values = np.empty(count, key), np.empty(count, value)
        sizes = (key.itemsize, value.itemsize)
        found = bpfsys.lookup_batch(self._fds[name], keys, values, sizes, count, remove=remove)
        # A copy, so that a map's worth of address space is not held for a few rows.
        return Entries(keys[:found].copy(), values[:found].copy())

    def _check(self, name: str, key: np.dtype[Any], value: np.dtype[np.void]) -> int:
        info = bpfsys.map_info(self._fds[name])
        if (info.key_size, info.value_size) != (key.itemsize, value.itemsize):
            raise OtherRelease(
                f"map {name} has records of {info.key_size}+{info.value_size} bytes, "
                f"not {key.itemsize}+{value.itemsize}: another release of smartxd made it",
                "restart smartxd, which builds it anew",
            )
        return info.max_entries


class GracePeriod:
    """Waits until no BPF program that was running runs any more.

    After an update of a map of maps the kernel waits an RCU grace period before it returns, precisely so that
    user space may rely on no (non-sleepable) program still using what was there before
    (maybe_wait_bpf_programs in kernel/bpf/syscall.c). So a map of maps is kept for that alone.
    """

    def __init__(self) -> None:
        self._inner = bpfsys.create_map(bpfsys.MapType.ARRAY, 4, 4, 1)
        try:
            self._outer = bpfsys.create_map(bpfsys.MapType.ARRAY_OF_MAPS, 4, 4, 1, self._inner)
        except BaseException:
            os.close(self._inner)
            raise

    def wait(self) -> None:
        """Return when every program that started before the call has ended; some milliseconds."""
        bpfsys.update(self._outer, _ZERO, struct.pack("=i", self._inner))

    def close(self) -> None:
        """Drop the maps."""
        os.close(self._outer)
        os.close(self._inner)
