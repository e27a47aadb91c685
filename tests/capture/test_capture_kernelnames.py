"""What the kernel calls reasons and places, and what is said where it does not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smartxd.btf import Types
from smartxd.capture.kernelnames import KernelNames

SYMBOLS = """\
ffffffff81000000 T _text
ffffffff81002000 d some_data
ffffffff81001000 t udp_rcv
ffffffffc0000100 t do_drop\t[openvswitch]
"""


def locations(path: Path, symbols: str, *addresses: int) -> list[str]:
    path.write_text(symbols)
    names = KernelNames(path)
    found = names.locations(np.array(addresses, "u8"))
    path.unlink()  # what was asked once is not looked for again
    assert names.locations(np.array(addresses, "u8")) == found
    return [found[address] for address in addresses]


def test_a_place_is_a_function_and_an_offset_in_whatever_order_the_kernel_lists_them(tmp_path: Path) -> None:
    asked = (0xFFFFFFFF81003000, 0xFFFFFFFF81001000, 0xFFFFFFFFC0000142, 0xFFFFFFFF80000000)
    assert locations(tmp_path / "kallsyms", SYMBOLS, *asked) == [
        *("udp_rcv+0x2000", "udp_rcv+0x0", "do_drop [openvswitch]+0x42", "0xffffffff80000000")
    ]


def test_a_place_is_its_address_where_the_kernel_hides_its_symbols(tmp_path: Path) -> None:
    hidden = "\n".join(f"{0:016x}{line[16:]}" for line in SYMBOLS.splitlines())
    assert locations(tmp_path / "kallsyms", hidden, 0xFFFFFFFF81001000) == ["0xffffffff81001000"]


def test_reasons_are_those_of_the_running_kernel_and_others_keep_their_number() -> None:
    known = Types.of_kernel().enum("skb_drop_reason")
    wanted = known["SKB_DROP_REASON_NO_SOCKET"]
    reasons = KernelNames().reasons(np.array([wanted, 3 << 16 | 7, 65000, wanted], "u4"))
    assert reasons == {wanted: "NO_SOCKET", 3 << 16 | 7: "subsystem 3: 7", 65000: "reason 65000"}


def test_a_kernel_without_btf_gives_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Types:
        raise FileNotFoundError

    monkeypatch.setattr(Types, "of_kernel", missing)
    assert KernelNames().reasons(np.array([3], "u4")) == {3: "reason 3"}


@pytest.mark.parametrize("found", [None, b"not a list of symbols\n", b"\xff\xfe\x00\n"])
def test_without_names_an_address_is_written_in_hex(tmp_path: Path, found: bytes | None) -> None:
    """As under a systemd unit that hides the list: what was dropped is stored all the same."""
    kallsyms = tmp_path / "kallsyms"
    if found is not None:
        kallsyms.write_bytes(found)
    names = KernelNames(kallsyms)
    assert names.locations(np.array([0xFFFFFFFF81001000], "u8")) == {0xFFFFFFFF81001000: "0xffffffff81001000"}
