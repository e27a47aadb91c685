"""``smartxctl validate``: judge specs, and say what a change of them does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartxd.ctl import findings
from smartxd.ctl.verb import add_verb, said_to_go_on, say
from smartxd.errors import SourceError
from smartxd.source import folder
from smartxd.spec.document import Content
from smartxd.spec.finding import Severity, did_you_mean
from smartxd.spec.load import RULES, Verdict, judge
from smartxd.tables import print_json

if TYPE_CHECKING:
    from smartxd.ctl.change import Change

EXAMPLES = """All PATHs together are one repo. Each finding names its rule; docs/rules.md says why it is one
and what to do, how a repo sets its severity, and how an object silences it.

exit code: 0 when nothing is wrong but notes, 1 with an error or a warning, 2 wrong usage

examples:
  smartxctl validate                                  every spec of this folder
  smartxctl validate specs/boxes specs/tunnels.yaml   of several
  smartxctl validate --format github                  annotations of a pull request
  smartxctl validate --format sarif > findings.sarif  for code scanning
  smartxctl validate --diff origin/main..HEAD         and which boxes the change touches, and how
  smartxctl validate --diff v1.4 specs                from a tag to the files as they are
"""

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan", None: "dim"}


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "validate", "judge specs, one by one and all together", EXAMPLES)
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="folders and files (.)")
    formats = ("text", "json", "sarif", "github")
    text = "for a person, or for whom it is named (%(default)s)"
    parser.add_argument("--format", choices=formats, default="text", help=text)
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="RULE", help="leave this rule out; may be repeated"
    )
    parser.add_argument(
        "--diff", metavar="BASE..HEAD", help="also say what this change does; BASE alone: to the files"
    )
    parser.set_defaults(run=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """0 when nothing is wrong but notes; 1 with an error or a warning."""
    paths: list[Path] = args.paths or [Path()]
    for rule in args.ignore:
        if rule not in RULES:
            args.refuse(f"--ignore: there is no rule {rule}{did_you_mean(rule, RULES)}")
    if args.diff is not None and len(paths) != 1:
        args.refuse("--diff compares one PATH: name the folder that holds all specs")
    if args.diff is not None and not _is_change(args.diff):
        args.refuse("--diff needs BASE or BASE..HEAD: two commits, as in origin/main..HEAD")
    with said_to_go_on():
        verdict, changed = _judged(paths, args.diff, args.ignore)
    _FORMATS[args.format](verdict, changed)
    # What is cut is told last: where all that is told are notes, it is notes too.
    return 1 if any(finding.severity is not Severity.NOTE for finding in verdict.open) else 0


def _is_change(revisions: str) -> bool:
    """Whether it is BASE or BASE..HEAD; three dots mean something else to git, and no name holds two."""
    base, *more = revisions.split("..")
    return bool(base) and len(more) <= 1 and "..." not in revisions


def _judged(
    paths: Sequence[Path], revisions: str | None, ignore: Sequence[str]
) -> tuple[Verdict, Change | None]:
    """The verdict, and what the change does where there is one and both of its sides are valid."""
    if revisions is None:
        return _declaring(judge(_files(paths), ignore), paths), None
    from smartxd.ctl import change  # noqa: PLC0415 (Git and the planes are slow to import)

    sides = change.sides(paths[0], revisions)
    before, after = judge(sides.before, ignore), _declaring(judge(sides.after, ignore), paths)
    for name, side in (("BASE", before), ("HEAD" if sides.head else "the working tree", after)):
        if side.errors or not side.derivable:
            # What cannot be read would be told as removed.
            say(f"{revisions}: the specs of {name} are not valid, so what the change does cannot be told")
            return after, None
    verdict = judge(sides.after, ignore, before=before.fleet)
    return verdict, change.change(before.fleet, verdict.fleet, sides.base, sides.head)


def _declaring(verdict: Verdict, paths: Sequence[Path]) -> Verdict:
    """The verdict; SourceError where there is nothing to judge: a green check would be taken for one."""
    if verdict.derivable and not verdict.fleet.refs():
        raise SourceError(
            f"{', '.join(map(str, paths))}: no spec in any file; empty documents declare nothing",
            "name the folder that holds the specs",
        )
    return verdict


def _files(paths: Sequence[Path]) -> dict[str, Content]:
    """The files of all paths; one that several of them hold counts once. SourceError when a path has none."""
    files: dict[str, Content] = {}
    seen: set[Path] = set()
    for path in paths:
        for name, content in folder.read(path).items():
            real = Path(name).parent.resolve() / Path(name).name
            if real not in seen:
                seen.add(real)
                files[name] = content
    return files


def _text(verdict: Verdict, changed: Change | None) -> None:
    lines: list[tuple[str, str]] = [(line, _STYLES[severity]) for line, severity in findings.text(verdict)]
    lines += [(line, "") for line in (changed.lines() if changed is not None else ())]
    lines.append((findings.summary(verdict), "bold"))
    if not sys.stdout.isatty():
        for line, _ in lines:
            print(line)
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import, and only a terminal needs it)
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for line, style in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _json(verdict: Verdict, changed: Change | None) -> None:
    print_json(findings.report(verdict, (*changed.touched, *changed.removed) if changed is not None else ()))


def _sarif(verdict: Verdict, changed: Change | None) -> None:  # noqa: ARG001 (SARIF has findings only)
    print(findings.sarif(verdict))


def _github(verdict: Verdict, changed: Change | None) -> None:
    for line in findings.github(verdict):
        print(line)
    for line in changed.lines() if changed is not None else ():
        print(findings.notice("smartx change", line))
    print(findings.summary(verdict))


_FORMATS = {"text": _text, "json": _json, "sarif": _sarif, "github": _github}
