"""Builds a policy's program in a child process, which pins it in bpffs and ends.

BCC is not thread-safe and its memory does not come back, so nothing that goes on living imports it: this
module runs itself, takes a request as JSON on its input and answers as JSON on its output.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smartxd import bpfsys, terms
from smartxd.errors import PlaneError
from smartxd.planes.trace import fields
from smartxd.planes.trace.probes import PROBES, Probe
from smartxd.planes.trace.state import WATCHED_MAX
from smartxd.terms import Terms

TIMEOUT_S = 180
"""The largest filters take clang some 15 s of a CPU."""
MESSAGE_LINES = 6
DIRECTIONS = ("ingress", "egress")
MAPS = (
    *("plain", "flows0", "flows1", "slots0", "slots1", "ledger0", "ledger1"),
    *("totals", "generation", "sampling", "cost", "packets"),
)
PINS = (*DIRECTIONS, *MAPS, terms.PIN)
PARTIAL = "new:"
"""Prefix of the folder in which a build is not complete."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to build, and where to pin it: each program and map under its own name."""

    sources: str
    pin_dir: str
    """A folder of a bpffs; made by the build, and there only when it is complete."""
    flows_max: int
    ledger_max: int
    selection: str = ""
    """What bpf/select.h includes: planes/trace/selection.py."""
    one_in: int = 1
    """The sampling interval to start with."""
    probes: dict[str, int] = field(default_factory=dict)
    """Which programs on tracepoints to build too, by name, and the entries of their maps."""
    terms: str = Terms().packed().hex()
    """For the capture process: a record of smartxd/terms.py in hex."""


def build(request: Request) -> None:
    """Build and pin, in a child process; PlaneError ``BCCMissing``, ``ProgramRefused`` or ``BuildFailed``."""
    command = [sys.executable, "-P", "-m", "smartxd.planes.trace.program"]
    try:
        # The child's files are in a folder of ours, because it is killed when it is late.
        with tempfile.TemporaryDirectory(prefix="smartxd-build-") as scratch:
            done = subprocess.run(
                command,
                input=json.dumps(asdict(request)),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
                env={**os.environ, "TMPDIR": scratch},
            )
    except subprocess.TimeoutExpired as err:
        raise PlaneError("BuildFailed", f"the BPF program was not built within {TIMEOUT_S} s") from err
    except OSError as err:
        raise PlaneError("BuildFailed", f"{err.filename or sys.executable}: {err.strerror}") from err
    if done.returncode == 0:
        return
    try:
        answer = json.loads(done.stdout)
        reason, message, hint = answer["reason"], answer["message"], answer["hint"]
    except (ValueError, KeyError, TypeError):
        reason, message, hint = "BuildFailed", f"the builder ended with status {done.returncode}", ""
    if "Cannot allocate memory" in done.stderr:
        reason, hint = "NoMemory", "give the policy fewer flowsMax entries, or the box more memory"
    said = [line.rstrip() for line in done.stderr.splitlines() if line.strip()][-MESSAGE_LINES:]
    raise PlaneError(reason, "; ".join([message, *said]), hint)


def assemble_headers(sources: Path, tree: Path) -> None:
    """Make the tree that BCC takes for kernel headers: our shim over what linux-libc-dev installs."""
    machine = platform.machine()
    triplet = "powerpc64le" if machine == "ppc64le" else machine
    asm = next(
        (p for p in (Path(f"/usr/include/{triplet}-linux-gnu/asm"), Path("/usr/include/asm")) if p.is_dir()),
        None,
    )
    if asm is None or not Path("/usr/include/linux/bpf.h").is_file():
        raise PlaneError(
            "HeadersMissing", "no uapi headers in /usr/include", "apt-get install linux-libc-dev"
        )
    shutil.copytree(sources / "shim", tree, dirs_exist_ok=True)
    uapi = tree / "include" / "uapi"
    uapi.mkdir()
    (uapi / "linux").symlink_to("/usr/include/linux")
    (uapi / "asm-generic").symlink_to("/usr/include/asm-generic")
    (uapi / "asm").symlink_to(asm)


def compile_and_pin(request: Request) -> None:
    """The child's work. Pins appear at ``pin_dir`` all at once, by renaming the folder they were made in."""
    try:
        import bcc  # noqa: PLC0415 (only the child may)

        bpf_class = bcc.BPF
    except (ImportError, AttributeError) as err:
        raise PlaneError(
            "BCCMissing",
            f"Python module bcc of IO Visor cannot be used: {err}",
            "apt-get install python3-bpfcc (PyPI's bcc is another project)",
        ) from err
    with tempfile.TemporaryDirectory(prefix="smartxd-bpf-") as tree:
        assemble_headers(Path(request.sources), Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        flags = _flags(request, Path(tree))
        flows = _module(bpf_class, request, "flows.c", flags)
        pins = {name: _function(flows, name, bpf_class.SCHED_CLS) for name in DIRECTIONS}
        pins |= {name: flows[name].map_fd for name in MAPS}
        # By what BCC knows of this process, probes have the flows' ledger and generation.
        for probe in PROBES:
            if probe.name in request.probes:
                pins |= _probe(bpf_class, request, probe, flags)
    for parity in (0, 1):
        bpfsys.update(pins["sampling"], struct.pack("=I", parity), struct.pack("=I", request.one_in))
    pins[terms.PIN] = bpfsys.create_map(bpfsys.MapType.ARRAY, 4, terms.RECORD_BYTES, 1)
    bpfsys.update(pins[terms.PIN], bytes(4), bytes.fromhex(request.terms))
    _pin(pins, Path(request.pin_dir))


def _flags(request: Request, tree: Path) -> list[str]:
    selection = tree / "selection.h"
    selection.write_text(request.selection)
    return [
        "-D__LINUX_BPF_H__",  # BCC brings its own bpf.h
        f"-DFLOWS_MAX={request.flows_max}",
        f"-DLEDGER_MAX={request.ledger_max}",
        f"-DPAGE_SIZE={mmap.PAGESIZE}",
        f'-DSELECTION="{selection}"',
        f"-DCPUS={bpfsys.possible_cpus()}",
        *(["-DHAS_TAI"] if bpfsys.has_helper(bpfsys.KTIME_GET_TAI_NS) else []),
        f"-I{request.sources}",
    ]


def _module(bpf_class: Any, request: Request, source: str, flags: list[str]) -> Any:
    """A C file, built; BCC raises bare Exception, what the compiler said went to stderr."""
    try:
        return bpf_class(src_file=str(Path(request.sources) / source), cflags=flags)
    except Exception as err:
        raise _refused(err) from err


def _probe(bpf_class: Any, request: Request, probe: Probe, flags: list[str]) -> dict[str, int]:
    """A probe's C file, built, and its programs linked: what is to be pinned of it."""
    most = [f"-D{probe.name.upper()}_MAX={request.probes[probe.name]}", f"-DWATCHED_MAX={WATCHED_MAX}"]
    module = _module(bpf_class, request, f"{probe.name}.c", [*flags, *most, *fields.flags(probe)])
    pins = {name: _function(module, name, bpf_class.RAW_TRACEPOINT) for name in probe.programs}
    pins |= {pin: module[table].map_fd for pin, table in probe.tables.items()}
    for link, name in probe.links.items():
        pins[link] = bpfsys.link_raw_tracepoint(pins[name], probe.programs[name])
    return pins


def _function(module: Any, name: str, kind: int) -> int:
    """The descriptor of a program in the kernel; the same of the verifier."""
    try:
        return int(module.load_func(name, kind).fd)
    except Exception as err:
        raise _refused(err) from err


def _refused(err: Exception) -> PlaneError:
    return PlaneError("ProgramRefused", f"the BPF program was refused: {err}")


def _pin(pins: Mapping[str, int], pin_dir: Path) -> None:
    partial = pin_dir.with_name(f"{PARTIAL}{pin_dir.name}")
    try:
        partial.mkdir(mode=0o700)
        for name, fd in pins.items():
            bpfsys.pin(fd, partial / name)
        partial.rename(pin_dir)
    except BaseException:
        bpfsys.remove_pins(partial)
        raise


def main() -> int:
    """Read a request, build; 1 and the reason on stdout when it failed."""
    try:
        compile_and_pin(Request(**json.load(sys.stdin)))
    except PlaneError as err:
        answer = {"reason": err.reason, "message": err.message, "hint": err.hint}
    except OSError as err:
        hint = "run as root" if err.errno in (errno.EPERM, errno.EACCES) else ""
        answer = {"reason": "BuildFailed", "message": f"cannot pin the program: {err}", "hint": hint}
    else:
        return 0
    json.dump(answer, sys.stdout)
    return 1


if __name__ == "__main__":
    sys.exit(main())
