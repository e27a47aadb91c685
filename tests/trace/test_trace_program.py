"""Building: what can be missing or refused is one clear error."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartxd import bpfsys
from smartxd.errors import PlaneError
from smartxd.planes.trace import bpffs, pins, program, sources


@pytest.fixture
def pin_dir() -> Iterator[Path]:
    root = bpffs.MOUNT_POINT / f"smxt-{uuid.uuid4().hex[:10]}"
    bpffs.ensure(root)
    try:
        yield pins.fresh_dir(root, "p", "00000000")
    finally:
        pins.remove_all(root)


def _refusal(pin_dir: Path, folder: Path | None = None) -> PlaneError:
    with pytest.raises(PlaneError) as caught:
        program.build(program.Request(str(folder or sources.directory()), str(pin_dir), 64, 64))
    assert not list(pin_dir.parent.iterdir())
    return caught.value


def _changed(tmp_path: Path, old: str, new: str) -> Path:
    folder = Path(shutil.copytree(sources.directory(), tmp_path / "bpf"))
    text = (folder / "flows.c").read_text()
    assert old in text
    (folder / "flows.c").write_text(text.replace(old, new))
    return folder


@pytest.mark.kernel
def test_a_complete_build_has_every_pin(pin_dir: Path) -> None:
    program.build(program.Request(str(sources.directory()), str(pin_dir), 64, 64))
    assert {p.name for p in pin_dir.iterdir()} == set(program.PINS)
    with bpfsys.opened(pin_dir / "flows1") as fd:
        assert bpfsys.map_info(fd).max_entries == 64


@pytest.mark.kernel
@pytest.mark.parametrize("impostor", ["raise ImportError('not here')", "'another project'"])
def test_without_the_right_bcc_the_package_to_install_is_named(
    pin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impostor: str
) -> None:
    (tmp_path / "bcc.py").write_text(impostor)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = _refusal(pin_dir)
    assert error.reason == "BCCMissing"
    assert "python3-bpfcc" in error.hint


@pytest.mark.kernel
def test_a_build_that_is_late_is_killed_and_leaves_no_file(
    pin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, scratch = tmp_path / "modules", tmp_path / "scratch"
    for folder in (modules, scratch):
        folder.mkdir()
    (modules / "bcc.py").write_text("import signal, tempfile\ntempfile.mkdtemp()\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(program, "TIMEOUT_S", 2)
    error = _refusal(pin_dir)
    assert (error.reason, "not built within 2 s" in error.message) == ("BuildFailed", True)
    assert list(scratch.iterdir()) == []


@pytest.mark.kernel
def test_what_the_compiler_refuses_is_told_with_its_lines(pin_dir: Path, tmp_path: Path) -> None:
    folder = _changed(tmp_path, "return run(skb, INGRESS)", "return no_such_name")
    error = _refusal(pin_dir, folder)
    assert error.reason == "ProgramRefused"
    assert "no_such_name" in error.message


@pytest.mark.kernel
def test_what_the_verifier_refuses_is_told_with_its_last_lines(pin_dir: Path, tmp_path: Path) -> None:
    folder = _changed(tmp_path, "return run(skb, INGRESS)", "return *(volatile int *)(long)skb->data")
    error = _refusal(pin_dir, folder)
    assert error.reason == "ProgramRefused"
    assert "invalid access to packet" in error.message
    assert len(error.message) < 2000


@pytest.mark.kernel
def test_more_memory_than_there_is_names_what_to_lower(pin_dir: Path) -> None:
    with pytest.raises(PlaneError) as caught:
        program.build(program.Request(str(sources.directory()), str(pin_dir), 1 << 31, 64))
    assert caught.value.reason in ("NoMemory", "ProgramRefused")
    assert "flows" in caught.value.message


def test_the_fingerprint_changes_with_the_sources(tmp_path: Path) -> None:
    folder = _changed(tmp_path, "#define NEXT (-1)", "#define NEXT (-1) ")
    assert sources.fingerprint(folder) != sources.fingerprint(sources.directory())


@pytest.mark.kernel
def test_bpffs_is_mounted_where_it_is_missing() -> None:
    """In a mount namespace of its own, so that nobody else's pins vanish."""
    script = (
        "from pathlib import Path; from smartxd.planes.trace import bpffs;"
        "bpffs.ensure(Path('/sys/fs/bpf/smartxd'));"
        "print([l.split()[4] for l in open('/proc/self/mountinfo') if ' - bpf ' in l])"
    )
    # Private from /sys on, not from /: in a chroot that is no mount point.
    private = "mount --make-rprivate /sys || exit"
    unmounted = f'{private}; while umount /sys/fs/bpf 2>/dev/null; do :; done; exec {sys.executable} -c "$0"'
    argv = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", unmounted, script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "['/sys/fs/bpf']", done.stderr


def test_a_folder_elsewhere_is_refused_with_the_place_to_use(tmp_path: Path) -> None:
    with pytest.raises(PlaneError) as caught:
        bpffs.ensure(tmp_path / "pins")
    assert caught.value.reason == "BpffsMissing"
    assert "/sys/fs/bpf" in caught.value.hint
