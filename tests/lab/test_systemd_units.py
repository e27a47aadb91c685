"""The units are ones that systemd takes, and stay as confined as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"


def _installed(name: str, folder: Path) -> Path:
    """The unit as if smartxd were installed where this checkout has its programs."""
    text = (UNITS / name).read_text()
    assert "ExecStart=/opt/smartxd/bin/" in text
    unit = folder / name
    unit.write_text(text.replace("/opt/smartxd/bin", str(Path(sys.executable).parent)))
    return unit


def _analyze(*argv: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


NAMES = ("smartxd.service", "smartx-capture.service", "smartx-center.service")


@pytest.mark.parametrize("name", NAMES)
def test_the_installation_puts_what_the_unit_starts_where_it_looks(name: str) -> None:
    text = (UNITS / name).read_text()
    install = (UNITS.parent / "docs" / "install.md").read_text()
    program, *_, config = text.partition("ExecStart=")[2].splitlines()[0].split()
    assert f"-m venv --system-site-packages {Path(program).parents[1]}\n" in install
    assert config in install
    assert name.removesuffix(".service") in install.partition("enable --now")[2]


@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_wrong_with_the_unit(name: str, tmp_path: Path) -> None:
    done = _analyze("verify", str(_installed(name, tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "exposure_max"),
    [("smartxd.service", 33), ("smartx-capture.service", 29), ("smartx-center.service", 15)],
)
def test_a_unit_is_no_less_confined_than_it_was(name: str, exposure_max: int, tmp_path: Path) -> None:
    """Exposure in tenths, as ``systemd-analyze security`` counts it."""
    unit = str(_installed(name, tmp_path))
    done = _analyze("security", "--offline=true", f"--threshold={exposure_max}", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-300:]
