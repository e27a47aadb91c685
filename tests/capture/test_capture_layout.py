"""One definition of each record: what BCC makes of bpf/records.h is what numpy reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from smartxd.capture import layout
from smartxd.planes.trace import sources

PRINT_LAYOUT = """
import ctypes, json, os, sys, tempfile
from pathlib import Path
from smartxd.planes.trace import program
from smartxd.planes.trace.fields import flags as fields_of_kernel
from smartxd.planes.trace.probes import PROBES
folder, tree = Path(sys.argv[1]), sys.argv[2]
program.assemble_headers(folder, Path(tree))
os.environ["BCC_KERNEL_SOURCE"] = tree
import bcc
flags = ["-D__LINUX_BPF_H__", "-DFLOWS_MAX=8", "-DLEDGER_MAX=8", "-DPAGE_SIZE=4096", "-DCPUS=2",
         "-DSNAP=256", f"-I{folder}"]
module = bcc.BPF(src_file=str(folder / "flows.c"), cflags=flags)
flags += ["-DDROPS_MAX=8", "-DTCP_MAX=8", "-DWATCHED_MAX=8"]
drops, tcp = (
    bcc.BPF(src_file=str(folder / f"{probe.name}.c"), cflags=[*flags, *fields_of_kernel(probe)])
    for probe in PROBES
)

def fields(kind, base=0, prefix=""):
    found = {}
    for name, type_ in kind._fields_:
        place = getattr(kind, name)
        if hasattr(type_, "_fields_"):
            found |= fields(type_, base + place.offset, prefix + name + ".")
        else:
            found[prefix + name] = [base + place.offset, ctypes.sizeof(type_)]
    return found

def all_of(kind):
    return {"size": ctypes.sizeof(kind), "fields": fields(kind)}

# A per-CPU value is an array of one struct for each CPU.
percpu, cost = module["ledger0"].Leaf, module["cost"].Leaf
print(json.dumps({
    "FLOW_KEY": all_of(module["flows0"].Key),
    "PLAIN_FLOW": all_of(module["plain"].Leaf),
    "FLOW_VALUE": all_of(module["flows0"].Leaf),
    "LEDGER_KEY": all_of(module["ledger0"].Key),
    "LEDGER_ENTRY": all_of(getattr(percpu, "_type_", percpu)),
    "COST": all_of(getattr(cost, "_type_", cost)),
    "TOTAL_VALUE": all_of(module["totals"].Leaf),
    "DROP_KEY": all_of(drops["drops0"].Key),
    "CONNECTION_KEY": all_of(tcp["tcp0"].Key),
    "CONNECTION_VALUE": all_of(tcp["tcp0"].Leaf),
    "PACKET": all_of(dict(module["scratch"].Leaf._type_._fields_)["record"]),
}))
"""


def _fields(kind: np.dtype, base: int = 0, prefix: str = "") -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, (inner, offset, *_) in (kind.fields or {}).items():
        if inner.fields:
            found |= _fields(inner, base + offset, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = [base + offset, inner.itemsize]
    return found


@pytest.mark.kernel
def test_the_records_of_c_are_those_of_numpy_field_by_field(tmp_path) -> None:
    argv = [sys.executable, "-c", PRINT_LAYOUT, str(sources.directory()), str(tmp_path / "tree")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name, compiled in said.items():
        kind = getattr(layout, name)
        assert compiled == {"size": kind.itemsize, "fields": _fields(kind)}, name
