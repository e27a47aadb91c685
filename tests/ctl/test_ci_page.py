"""docs/ci.md and the pre-commit hook name commands that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from smartxd.ctl.main import parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
COMMANDS = re.findall(r"smartxctl ((?:validate|plan|schema)[^\n`;>|#]*)", PAGE)
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_of_the_page_is_one(command: str) -> None:
    words = shlex.split(re.sub(r"\$\{\{[^}]*\}\}|\$\w+", "x", command))
    parser().parse_args(words)


def test_every_snippet_of_the_page_is_yaml() -> None:
    snippets = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 3
    assert all(yaml.safe_load(snippet) for snippet in snippets)


def test_the_hook_runs_in_a_repo_of_specs(tmp_path: Path) -> None:
    (hook,) = HOOKS
    assert (hook["id"], hook["language"], hook["pass_filenames"]) == ("smartx-validate", "python", False)
    assert hook["always_run"]  # a commit that only deletes files has none to match
    for file in (ROOT / "examples" / "koren-two-site").glob("*.yaml"):
        shutil.copy(file, tmp_path)
    program, *arguments = shlex.split(hook["entry"])
    command = [Path(sys.executable).parent / program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "valid: 7 objects of 2 boxes\n")
