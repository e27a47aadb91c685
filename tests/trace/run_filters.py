"""Builds filters by BCC and runs them in the kernel on frames (BPF_PROG_TEST_RUN): JSON in, JSON out.

A frame is its bytes and the VLAN tag that is held beside it: TPID << 16 | TCI, 0 for none.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import tempfile
from enum import IntEnum
from pathlib import Path

import bcc

from smartxd import bpfsys
from smartxd.planes.trace import program

BEHIND = bytes(64)


class Command(IntEnum):
    PROG_TEST_RUN = 10


HEAD = """
#include "select.h"
/* The kernel takes no frame that ends within its IP header: so frames come with something behind them. */
static __always_inline bool made(struct __sk_buff *skb)
{
	if (bpf_skb_change_tail(skb, skb->priority, 0))
		return false;
	return !skb->mark || !bpf_skb_vlan_push(skb, bpf_htons(skb->mark >> 16), skb->mark & 0xffff);
}
"""
OUTER = """
int run_%(name)s(struct __sk_buff *skb)
{
	struct frame f;

	if (!made(skb))
		return 2;
	frame_of(skb, &f);
	return %(name)s(&f);
}
"""
INNER = """
int run_%(name)s(struct __sk_buff *skb)
{
	struct frame f, inner;

	if (!made(skb))
		return 2;
	frame_of(skb, &f);
	return frame_inside(&f, &inner) && %(name)s(&inner);
}
"""


def run(fd: int, frame: bytes, tag: int) -> int:
    data = ctypes.create_string_buffer(frame + BEHIND, len(frame + BEHIND))
    context = bytearray(192)
    struct.pack_into("=I", context, 8, tag)
    struct.pack_into("=I", context, 32, len(frame))
    held = (ctypes.c_char * len(context)).from_buffer(context)
    attr = bytearray(128)
    # prog_fd, retval, data sizes in and out, data in and out, repeat, duration, ctx sizes, ctx in and out
    fields = (
        fd,
        0,
        len(data),
        0,
        ctypes.addressof(data),
        0,
        1,
        0,
        len(context),
        0,
        ctypes.addressof(held),
        0,
    )
    struct.pack_into("=IIIIQQIIIIQQ", attr, 0, *fields)
    bpfsys._bpf(Command.PROG_TEST_RUN, attr)  # type: ignore[arg-type]
    return struct.unpack_from("=I", attr, 4)[0]


def main() -> None:
    asked = json.load(sys.stdin)
    wrapper = INNER if asked["inner"] else OUTER
    text = HEAD + "".join(text + wrapper % {"name": name} for name, text in asked["functions"].items())
    frames = [(bytes.fromhex(frame), tag) for frame, tag in asked["frames"]]
    with tempfile.TemporaryDirectory() as tree:
        program.assemble_headers(Path(asked["sources"]), Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        module = bcc.BPF(text=text, cflags=["-D__LINUX_BPF_H__", f"-I{asked['sources']}"])
        said = {}
        for name in asked["functions"]:
            fd = module.load_func(f"run_{name}", bcc.BPF.SCHED_CLS).fd
            said[name] = [run(fd, frame, tag) for frame, tag in frames]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
