"""Tables: whole lines when piped, and on a terminal what fits into it."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from smartxd.tables import fitted, folded, print_table

OBJECTS = ("OBJECT", "STATE", "MESSAGE", "LAST ERROR")
MESSAGE = "vx100 does not exist on this box, so that nothing can be traced on it"
ROWS = [
    (
        "TracePolicy/koren",
        "NOT READY",
        MESSAGE,
        None,
    ),
    ("Box/gist1", "Ready", "", "-"),
]
FLOWS = ["INTERFACE", "DIR", "PROTO", "SOURCE", "DESTINATION", "INNER", "PACKETS", "BYTES", "LAST"]
FLOW = ["wan0", "in", "udp", "203.0.113.1:49152", "203.0.113.2:4789"]
FLOW += ["vni 100 tcp 10.10.0.11:43210 > 10.10.0.12:5201", "123456", "5678901", "12:00:00"]


def on_a_terminal(columns: int) -> list[str]:
    """What ``print_table`` shows of OBJECTS on a terminal of this width, without its colours."""
    program = "from test_ctl_tables import *; print_table(OBJECTS, ROWS)"
    ours, its = pty.openpty()
    try:
        ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        env = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
        where = Path(__file__).parent
        subprocess.run(
            [sys.executable, "-c", program], cwd=where, env=env, stdin=its, stdout=its, timeout=60, check=True
        )
        shown = os.read(ours, 65536)
    finally:
        os.close(its)
        os.close(ours)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()]


def test_piped_a_row_is_one_line_with_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(OBJECTS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        f"{'OBJECT':<17}  {'STATE':<9}  {'MESSAGE':<69}  LAST ERROR",
        f"TracePolicy/koren  NOT READY  {MESSAGE}  -",
        f"{'Box/gist1':<17}  {'Ready':<9}  {'':<69}  -",
    ]


def test_on_a_terminal_messages_fold_and_columns_without_a_value_are_left_out() -> None:
    assert on_a_terminal(60) == [
        "OBJECT             STATE      MESSAGE",
        "TracePolicy/koren  NOT READY  vx100 does not exist on this",
        "                              box, so that nothing can be",
        "                              traced on it",
        "Box/gist1          Ready",
    ]


def test_on_a_wide_terminal_nothing_folds() -> None:
    assert len(on_a_terminal(120)) == 3


@pytest.mark.parametrize("room", [81, 90, 100, 120, 200])
def test_flows_fit_and_no_name_breaks(room: int) -> None:
    widths, gap = fitted(FLOWS, [FLOW], room)
    assert sum(widths) + gap * (len(widths) - 1) <= room
    for width, name, cell in zip(widths, FLOWS, FLOW, strict=True):
        assert folded(name, width) == name
        # Below 130 an address may stand above its port; nothing else is taken apart.
        apart = cell.replace(":", " :").split() if name != "LAST" else []
        assert set(folded(cell, width).split()) <= {*cell.split(), *apart}


def test_numbers_never_break() -> None:
    header, row = ["WHO", "BYTES"], ["a-name-that-is-very-long", "123456789012"]
    widths, _ = fitted(header, [row], 20)
    assert widths[1] == 12
    assert folded(row[1], widths[1]) == row[1]


def test_what_a_spec_wrote_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("MESSAGE",), [("\x1b[2Jone\r\ntwo\x07",)])
    assert capsys.readouterr().out == "MESSAGE\n[2Jone two\n"
