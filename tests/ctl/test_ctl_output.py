"""What becomes of ``smartxctl`` where its output cannot go where it should, or its environment is bare."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from smartxd.ctl import verb
from smartxd.ctl.main import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "koren-two-site"
BAD = sorted(path for path in (ROOT / "tests" / "specs" / "bad").iterdir() if path.is_dir())
COMMAND = [str(Path(sys.executable).parent / "smartxctl")]


def ran(*arguments: str, out: int | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in an environment of these variables alone; ``out`` takes what it prints."""
    to = subprocess.PIPE if out is None else out
    return subprocess.run(
        [*COMMAND, *arguments], stdout=to, stderr=subprocess.PIPE, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize(
    "verb", [["-h"], ["validate", "-h"], ["schema"], ["plan", str(EXAMPLE), "--box", "gist1"]]
)
def test_who_stops_reading_gets_no_traceback(verb: list[str], buffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = ran(*verb, out=writer, PYTHONUNBUFFERED=buffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_is_an_error_of_one_line(buffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = ran("schema", out=full.fileno(), PYTHONUNBUFFERED=buffered)
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


def test_a_terminal_of_ascii_alone_gets_all_of_a_plan(tmp_path: Path) -> None:
    for file in EXAMPLE.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    who = ("-c", "user.name=x", "-c", "user.email=x@example.net", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, timeout=60)
    l2 = tmp_path / "l2.yaml"
    l2.write_text(l2.read_text().replace("239.1.1.100", "239.1.1.101"))
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    done = ran("plan", str(tmp_path), "--box", "gist1", "--from", "HEAD", **bare)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"group: 239.1.1.100 \\u2192 239.1.1.101" in done.stdout


def test_without_git_there_is_a_hint(tmp_path: Path) -> None:
    done = ran("validate", str(EXAMPLE), "--diff", "HEAD", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: git cannot be run: ")
    assert b"\nhint: install git" in done.stderr
    assert ran("validate", str(EXAMPLE)).returncode == 0


@pytest.mark.parametrize("repo", BAD, ids=lambda path: path.name)
def test_json_is_as_its_schema_in_the_repo_says(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(repo), "--format", "json"])
    made = json.loads((ROOT / "specs" / "schema" / "validation.json").read_text())
    Draft202012Validator(made).validate(json.loads(capsys.readouterr().out))


def test_a_plan_is_as_its_schema_in_the_repo_says(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", str(EXAMPLE), "--box", "gist1", "-o", "json"])
    made = json.loads((ROOT / "specs" / "schema" / "plan.json").read_text())
    Draft202012Validator(made).validate(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("verb", [["validate", str(BAD[0])], ["plan", str(EXAMPLE), "--box", "gist1"]])
def test_only_a_terminal_gets_colours(verb: list[str]) -> None:
    reader, writer = pty.openpty()
    ran(*verb, out=writer, TERM="xterm-256color")
    os.close(writer)
    assert b"\x1b[" in os.read(reader, 1 << 16)
    os.close(reader)
    assert b"\x1b" not in ran(*verb, TERM="xterm-256color").stdout


class Terminal(io.StringIO):
    """What is printed to it."""

    def __init__(self, there: bool) -> None:
        super().__init__()
        self._there = there

    def isatty(self) -> bool:
        return self._there


@pytest.mark.parametrize("terminal", [True, False])
def test_who_waits_at_a_terminal_is_told(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal(terminal)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(verb, "PATIENCE_S", 0.0)
    end = time.monotonic() + (60 if terminal else 0.2)
    with verb.said_to_go_on():
        while time.monotonic() < end and not err.getvalue():
            time.sleep(0.01)
    assert err.getvalue() == "note: judging goes on; large repos take a while\n" * terminal
