"""Which packets a tracer records and what of them, as the C text that bpf/select.h includes: pure."""

from __future__ import annotations

import hashlib

from smartxd.planes.trace.filter import c_function
from smartxd.planes.trace.state import RING_BYTES, Sampling, Tracer


def c_text(tracer: Tracer) -> str:
    """The file that is SELECTION to bpf/select.h; empty for one that counts every packet into flows."""
    parts = []
    filters = (("OUTER_FILTER", tracer.filter), ("INNER_FILTER", tracer.inner_filter))
    for macro, filter in filters:
        if filter is not None:
            parts.append(f"#define {macro} {macro.lower()}\n{c_function(macro.lower(), filter.program)}")
    sampling = tracer.sampling
    if sampling is None and tracer.budget is not None:
        sampling = Sampling("count", 1)  # what a budget can make coarser
    if sampling is not None:
        parts.append(f"#define SAMPLING SAMPLING_{sampling.mode.upper()}\n#define SEED {sampling.seed}u\n")
    if tracer.budget is not None and tracer.budget.cpu_percent is not None:
        parts.append("#define MEASURED\n")
    if tracer.flows_max is None:
        parts.append("#define WITHOUT_FLOWS\n")
    if tracer.snap_length is not None:
        snap = "SNAP_HEADERS" if tracer.snap_length == "headers" else tracer.snap_length
        parts.append(f"#define SNAP {snap}\n#define RING_BYTES {RING_BYTES}\n")
    return "\n".join(parts)


def fingerprint(tracer: Tracer) -> str:
    """Eight hex digits that change with the selection."""
    text = f"{c_text(tracer)}\n{tracer.terms.one_in}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]
