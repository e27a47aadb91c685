"""Findings as text, JSON, SARIF and GitHub's workflow commands. Pure: a verdict in, text out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from smartxd import __version__
from smartxd.reconcile.planned import PlanReport
from smartxd.spec.finding import Finding, Location, Rule, Severity, printable
from smartxd.spec.load import RULES, Verdict

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LINE_COLUMN = re.compile(r":\d+:\d+")


class Place(BaseModel):
    """A place in a file."""

    file: str = Field(description="path as it was given to the command, or below it")
    line: int = Field(description="from 1")
    column: int = Field(description="from 1, in characters")


class FindingReport(BaseModel):
    """One thing that is wrong."""

    rule: str = Field(description="ID of the rule; docs/rules.md has its page")
    name: str = Field(description="the rule in two or three words")
    severity: Severity = Field(description="error, warning or note")
    place: Place = Field(description="where")
    object: str = Field(description="`Kind/name`; empty where the document does not say")
    field: str = Field(description="dotted path of the field; empty where the whole object is meant")
    message: str = Field(description="what is wrong, and what would be right")
    hint: str = Field(description="what to do, where the message does not say; often empty")
    other: Place | None = Field(description="the other place of a conflict")
    silenced: str = Field(description="why an annotation says that it does not count; empty where none does")


class ValidationReport(BaseModel):
    """What ``smartxctl validate --format json`` prints."""

    version: str = Field(description="of smartxctl")
    objects: int = Field(description="valid objects")
    boxes: int = Field(description="how many of them are boxes")
    errors: int = Field(description="findings for which boxes refuse the commit")
    warnings: int = Field(description="findings that fail CI only")
    notes: int = Field(description="findings that are only said")
    silenced: int = Field(description="findings that an annotation silences")
    complete: bool = Field(description="false when there are more findings than are listed")
    findings: tuple[FindingReport, ...] = Field(description="in the order of files, silenced ones too")
    changes: tuple[PlanReport, ...] = Field(description="with --diff: the plan of each box that is touched")


def report(verdict: Verdict, changes: Sequence[PlanReport] = ()) -> ValidationReport:
    """The verdict for programs."""
    counts = _counts(verdict)
    return ValidationReport(
        version=__version__,
        objects=len(verdict.fleet.refs()),
        boxes=len(verdict.fleet.boxes),
        errors=counts[Severity.ERROR],
        warnings=counts[Severity.WARNING],
        notes=counts[Severity.NOTE],
        silenced=len(verdict.findings) - len(verdict.open),
        complete=not verdict.cut,
        findings=tuple(_finding(finding) for finding in verdict.findings),
        changes=tuple(changes),
    )


def _finding(finding: Finding) -> FindingReport:
    return FindingReport(
        rule=finding.rule,
        name=RULES[finding.rule].name,
        severity=finding.severity,
        place=_place(finding.location),
        object=printable(finding.object),
        field=printable(finding.field),
        message=printable(finding.message),
        hint=printable(finding.hint),
        other=_place(finding.other) if finding.other is not None else None,
        silenced=printable(finding.silenced),
    )


def _place(location: Location) -> Place:
    return Place(file=printable(location.file), line=location.line, column=location.column)


def _counts(verdict: Verdict) -> dict[Severity, int]:
    return {severity: sum(f.severity is severity for f in verdict.open) for severity in Severity}


def text(verdict: Verdict) -> Iterator[tuple[str, Severity | None]]:
    """A line for each finding that is not silenced, and one for its hint; each with its severity."""
    for finding in verdict.open:
        yield str(finding), finding.severity
        if finding.hint:
            yield printable(f"    hint: {finding.hint}"), None


def summary(verdict: Verdict) -> str:
    """The numbers, in a line."""
    objects, boxes = len(verdict.fleet.refs()), len(verdict.fleet.boxes)
    silenced = len(verdict.findings) - len(verdict.open)
    said = [_number(count, severity) for severity, count in _counts(verdict).items() if count]
    more = "more than " * verdict.cut
    found = f"{more}{', '.join(said)}" if said else "valid"
    within = f"{_number(objects, 'object')} of {_number(boxes, 'box', 'boxes')}"
    return f"{found}: {within}{f' ({silenced} silenced)' if silenced else ''}"


def _number(count: int, what: str, several: str = "") -> str:
    return f"{count} {what if count == 1 else several or what + 's'}"


_GITHUB = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(verdict: Verdict) -> Iterator[str]:
    """Workflow commands that annotate the files of a pull request, one for each finding."""
    for finding in verdict.open:
        where = finding.location
        properties = {
            "file": where.file,
            "line": str(where.line),
            "col": str(where.column),
            "title": f"{finding.rule} {RULES[finding.rule].name}",
        }
        listed = ",".join(f"{name}={_escaped(value, property=True)}" for name, value in properties.items())
        yield f"::{_GITHUB[finding.severity]} {listed}::{_escaped(_sentence(finding))}"


def _sentence(finding: Finding) -> str:
    """What is wrong with what, for where the place and the rule stand beside it."""
    words = ": ".join(part for part in (finding.object, finding.field, finding.message) if part)
    return printable(f"{words} ({finding.hint})" if finding.hint else words)


def notice(title: str, message: str) -> str:
    """A workflow command that says something of the whole change."""
    return f"::notice title={_escaped(title, property=True)}::{_escaped(printable(message))}"


def _escaped(value: str, *, property: bool = False) -> str:
    escapes = {"%": "%25", "\r": "%0D", "\n": "%0A"} | ({":": "%3A", ",": "%2C"} if property else {})
    for plain, escape in escapes.items():  # the per cent sign comes first
        value = value.replace(plain, escape)
    return printable(value)


def sarif(verdict: Verdict) -> str:
    """A SARIF 2.1.0 log (OASIS), as code scanning services take it."""
    used = sorted({finding.rule for finding in verdict.findings})
    prints = _fingerprints(verdict.findings)
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "smartxctl validate",
                "semanticVersion": __version__,
                "rules": [_rule(RULES[rule]) for rule in used],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(finding, used.index(finding.rule), fingerprint)
            for finding, fingerprint in zip(verdict.findings, prints, strict=True)
        ],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.why.replace("`", "")},
        "help": {"text": rule.why.replace("`", ""), "markdown": rule.why},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _fingerprints(findings: Sequence[Finding]) -> Iterator[str]:
    """A hash of each finding that stays when lines move, and is that of no other finding."""
    seen: Counter[tuple[str, ...]] = Counter()
    for finding in findings:
        # A message that names the other place of a conflict names its line too.
        message = _LINE_COLUMN.sub("", finding.message)
        file = PurePath(finding.location.file).name
        same = (finding.rule, finding.object, finding.field, file, message)
        seen[same] += 1
        text = "\0".join((*same, str(seen[same])))
        yield hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


def _result(finding: Finding, index: int, fingerprint: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": _sentence(finding)},
        "locations": [_physical(finding.location)],
        "partialFingerprints": {"smartxFinding/v1": fingerprint},
    }
    if finding.other is not None:
        made["relatedLocations"] = [
            {**_physical(finding.other), "id": 1, "message": {"text": "the other place"}}
        ]
    if finding.silenced:
        made["suppressions"] = [{"kind": "inSource", "justification": printable(finding.silenced)}]
    return made


def _physical(location: Location) -> dict[str, Any]:
    path = PurePath(location.file)
    uri = ("file://" if path.is_absolute() else "") + quote(path.as_posix(), errors="surrogateescape")
    region = {"startLine": location.line, "startColumn": location.column}
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
