"""Passwords reach FRR and nothing else."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from smartxd.planes.frr import apply as applying
from smartxd.planes.frr.plane import FRRPlane
from smartxd.planes.frr.state import Neighbor
from smartxd.planes.frr.vault import Vault
from smartxd.reconcile.planned import report
from tests.frr.conftest import Book, Instance
from tests.frr.frr_states import WAN, changed, speaker

PASSWORD = "hunter2!#x"
STATE = speaker(65001, "10.255.0.1", Neighbor(WAN, "192.0.2.2", 65001, 65002, secret="koren"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir(mode=0o700)
    return path


def put(folder: Path, text: str, mode: int = 0o600) -> None:
    file = folder / "koren"
    file.touch(mode=mode)
    file.chmod(mode)
    file.write_text(text)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (None, 0o600, "SecretMissing"),
        ("", 0o600, "SecretEmpty"),
        ("\n", 0o600, "SecretEmpty"),
        ("x\n", 0o644, "SecretExposed"),
        ("x\n", 0o640, "SecretExposed"),
        ("two words\n", 0o600, "SecretUnusable"),
        ("a|b\n", 0o600, "SecretUnusable"),
        ("one\ntwo\n", 0o600, "SecretUnusable"),
        ("x" * 81, 0o600, "SecretUnusable"),
        ("é", 0o600, "SecretUnusable"),
    ],
)
def test_a_secret_that_cannot_be_used_says_why_and_never_what_it_is(
    folder: Path, text: str | None, mode: int, reason: str
) -> None:
    if text is not None:
        put(folder, text, mode)
    fault = Vault(folder).read().fault("koren")
    assert fault is not None
    assert fault.reason == reason
    assert not text or len(text) < 5 or text.strip() not in fault.message


def test_a_file_that_is_none_says_so(folder: Path) -> None:
    (folder / "koren").mkdir()
    fault = Vault(folder).read().fault("koren")
    assert fault is not None
    assert fault.reason == "SecretUnreadable"


def test_what_stands_for_a_password_tells_nothing_and_leads_back(folder: Path) -> None:
    put(folder, "x" * 80 + "\r\n")
    vault = Vault(folder)
    line = f" neighbor 192.0.2.2 password {'x' * 80}"
    concealed = vault.conceal(line)
    assert "xxx" not in concealed
    assert concealed.endswith(vault.read().tokens["koren"])
    assert vault.reveal(concealed) == line
    assert Vault(folder).conceal(line) != concealed, "each process has a key of its own"


@pytest.mark.kernel
def test_a_password_reaches_frr_and_nothing_else(
    lone: Instance,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    put(folder, f"{PASSWORD}\n")
    seen: list[tuple[str, str, int]] = []
    private = applying.private

    def noting(path: Path, text: str) -> Path:
        made = private(path, text)
        seen.append((path.name, text, made.stat().st_mode & 0o077))
        return made

    monkeypatch.setattr(applying, "private", noting)
    book = Book(FRRPlane(lone.config, folder))
    plan = book.plan(STATE)
    said = [json.dumps(report("box", (plan,), basis="observed").model_dump(mode="json")), repr(plan)]
    results = book.converge(STATE)
    assert not [r.problem for r in results if r.problem]
    assert f"neighbor 192.0.2.2 password {PASSWORD}" in lone.running()
    assert not book.plan(STATE).actions
    assert {name for name, text, _ in seen if PASSWORD in text} == {"batch.conf"}
    assert all(mode == 0 for _, _, mode in seen)

    # Changed by hand, and changed in the file: each is drift, and neither is shown.
    lone.configure("router bgp 65001\n neighbor 192.0.2.2 password by-hand-99\nexit\n")
    (action,) = book.plan(STATE).actions
    said.append(repr(action))
    assert [c.field for c in action.changes] == ["password"]
    put(folder, "another-one\n")
    book.converge(STATE)
    assert "neighbor 192.0.2.2 password another-one" in lone.running()
    said += [repr(book.plane.observe()), caplog.text]
    for password in (PASSWORD, "by-hand-99", "another-one"):
        assert not [text for text in said if password in text]


@pytest.mark.kernel
def test_without_its_secret_a_session_is_not_made_and_one_that_is_there_stays(
    lone: Instance, folder: Path
) -> None:
    book = Book(FRRPlane(lone.config, folder))
    assert not [r for r in book.converge(STATE) if r.problem]
    assert "192.0.2.2" not in lone.running()
    assert [(p.owner, p.reason, p.permanent) for p in book.plan(STATE).problems] == [
        (WAN, "SecretMissing", False)
    ]
    put(folder, PASSWORD)
    book.converge(STATE)
    before = lone.running()
    assert PASSWORD in before
    (folder / "koren").unlink()
    other = changed(STATE, replace(STATE.neighbors[0], description="new"))
    book.converge(other)
    assert lone.running() == before
