"""Repos that cannot stand in Git as text: each is refused with a clear line, at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smartxd.source import folder
from smartxd.spec import load
from smartxd.spec.load import judge
from smartxd.spec.pcap import LibpcapMissing
from smartxd.spec.rules import traces
from smartxd.spec.rules.management import withdrawn

BOX = """apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: gist1}
spec:
  underlay: {interface: wan0, address: 203.0.113.1/24}
"""
MANAGEMENT = "  management: {interfaces: [mgmt0, mgmt1], networks: [192.0.2.0/24]}\n"


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def utf16(path: Path) -> None:
    path.write_text(BOX, encoding="utf-16")


def zero_byte(path: Path) -> None:
    path.write_text(BOX + "# \0\n")


def hundred_megabytes(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(100 << 20)


def password_file(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def out_of_the_repo(path: Path) -> None:
    (path.parent.parent / "outside.yaml").write_text(BOX)
    path.symlink_to("../outside.yaml")


def within_the_repo(path: Path) -> None:
    (path.parent / "box.txt").write_text(BOX)
    path.symlink_to("box.txt")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bomb(path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    path.write_text("\n".join(lines) + "\n")


def brackets(path: Path) -> None:
    path.write_text("[" * 40_000)


def many_documents(path: Path) -> None:
    path.write_text("---\n" * 100_000)


def deep(path: Path) -> None:
    path.write_text("".join(f"{' ' * i}a:\n" for i in range(100)))


@pytest.mark.parametrize(
    ("make", "rule", "words"),
    [
        (binary, "SX001", "not UTF-8"),
        (utf16, "SX001", "save the file as UTF-8"),
        (zero_byte, "SX001", ""),
        (hundred_megabytes, "SX001", "a spec file has at most"),
        (password_file, "SX001", "a symbolic link"),
        (out_of_the_repo, "SX001", "a symbolic link"),
        (within_the_repo, "SX001", "a symbolic link"),
        (pipe, "SX001", "regular file"),
        (bomb, "SX002", "values"),
        (brackets, "SX002", "nested deeper"),
        (many_documents, "SX001", "documents"),
        (deep, "SX002", "nested deeper"),
    ],
)
def test_a_hostile_file_is_one_clear_line_at_once(
    make: Callable[[Path], None], rule: str, words: str, tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "good.yaml").write_text(BOX.replace("gist1", "gist2"))
    make(repo / "x.yaml")
    began = time.process_time()
    verdict = judge(folder.read(repo))
    assert time.process_time() - began < 1
    (finding,) = verdict.errors
    assert (finding.rule, finding.location.file) == (rule, str(repo / "x.yaml"))
    assert words in finding.message
    assert len(str(finding).splitlines()) == 1
    assert "root:" not in str(finding)


@pytest.mark.parametrize("bound", ["DOCUMENTS_MAX", "VALUES_MAX"])
def test_what_is_behind_the_bound_of_a_repo_is_not_read(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, bound, 2 if bound == "DOCUMENTS_MAX" else 20)
    files = {f"{i}.yaml": BOX.replace("gist1", f"gist{i}").encode() for i in range(4)}
    (finding,) = (f for f in load.judge(files).findings if f.rule == "SX011")
    assert finding.location.line == 1
    assert finding.severity == "error"


def test_without_libpcap_a_filter_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(expression: str) -> None:
        raise LibpcapMissing("libpcap is not installed")

    traces._refusal.cache_clear()
    monkeypatch.setattr(traces, "compiled", missing)
    policy = """---
apiVersion: smartx.io/v1alpha1
kind: TracePolicy
metadata: {name: koren}
spec: {boxes: {names: [gist1]}, interfaces: [{name: wan0}], filter: arp}
"""
    (finding,) = judge({"a.yaml": (BOX + policy).encode()}).findings
    assert (finding.rule, finding.severity) == ("SX602", "note")


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (BOX + MANAGEMENT, None),
        (BOX, "management is no longer declared (was at a.yaml:6:3); nothing keeps it from being taken"),
        (
            BOX + MANAGEMENT.replace(", mgmt1", "").replace("192.0.2.0/24", "192.0.2.0/25"),
            "192.0.2.0/24, mgmt1 is no longer part of the way to the box (was at a.yaml:6:3)",
        ),
        (
            BOX.replace("gist1", "gist9"),
            "the Box is removed (was at a.yaml:4:1); its daemon keeps the last commit that had it",
        ),
    ],
)
def test_a_change_that_withdraws_the_way_to_a_box_is_said(after: str, message: str | None) -> None:
    before, now = (judge({"a.yaml": text.encode()}).fleet for text in (BOX + MANAGEMENT, after))
    found = [finding.message for finding in withdrawn(before, now, whole=True)]
    assert found == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("after", "file"),
    [
        ({"a.yaml": BOX.replace("gist1", "gist9")}, "a.yaml"),
        ({"b.yaml": BOX.replace("gist1", "gist9")}, "b.yaml"),
    ],
)
def test_a_removed_box_is_told_at_a_file_that_is_there(after: dict[str, str], file: str) -> None:
    before = judge({"a.yaml": BOX.encode()}).fleet
    (finding,) = judge({name: text.encode() for name, text in after.items()}, before=before).findings
    assert (finding.rule, str(finding.location), finding.other) == ("SX705", f"{file}:1:1", None)
    assert "(was at a.yaml:4:1)" in finding.message


def test_a_box_that_cannot_be_read_is_not_said_to_be_removed() -> None:
    before = judge({"a.yaml": BOX.encode()}).fleet
    after = {"a.yaml": BOX.replace("wan0", "'wan 0'").encode()}
    assert {finding.rule for finding in judge(after, before=before).findings} == {"SX006"}
