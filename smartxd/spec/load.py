"""The files of a repo to a Fleet, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from smartxd.errors import SpecError
from smartxd.objects import ObjectRef
from smartxd.spec import bounds, envelope, rules
from smartxd.spec.bounds import DOCUMENTS_MAX, TOO_MUCH, VALUES_MAX
from smartxd.spec.document import Content, Document, parse
from smartxd.spec.envelope import Object
from smartxd.spec.fields import SpecModel
from smartxd.spec.finding import Finding, Location, Rule, Severity
from smartxd.spec.fleet import Fleet
from smartxd.spec.rules.management import MANAGEMENT_WITHDRAWN, withdrawn
from smartxd.spec.severity import judged

SUFFIXES = (".yaml", ".yml")
"""What a spec file's name ends with."""

FILES_MAX = 10_000
"""Spec files of one repo."""

FINDINGS_MAX = 500
"""Findings that are told: more are not read by anybody, and a hostile file could have 200 000."""

DECLARED_TWICE = Rule(
    "SX010",
    "declared-twice",
    "A kind has one object of a name.",
    "Which of the two a box should follow cannot be told. Rename or remove one.",
    fixed=True,
)
RULES: dict[str, Rule] = {
    rule.id: rule for rule in sorted((*rules.RULES, DECLARED_TWICE, TOO_MUCH), key=lambda r: r.id)
}
"""Every rule by its ID."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a repo declares, and what is wrong with it."""

    fleet: Fleet
    """Of the documents that are valid by themselves."""
    findings: tuple[Finding, ...] = ()
    """In the order of files, silenced ones too; at most FINDINGS_MAX, errors before all others."""
    cut: bool = False
    """Whether there are more findings than are told."""
    derivable: bool = True
    """Whether boxes can be derived from the fleet: it is whole, whatever was to be ignored."""

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that nobody has silenced."""
        return tuple(f for f in self.findings if not f.silenced)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those for which a box refuses the commit."""
        return tuple(f for f in self.open if f.severity is Severity.ERROR)


def load(files: Mapping[str, Content]) -> Fleet:
    """The fleet that the files (content by path) declare; SpecError carries all errors of all files."""
    verdict = judge(files)
    if errors := verdict.errors:
        lines = tuple(str(finding) for finding in errors)
        more = "more than " * verdict.cut
        raise SpecError(f"{more}{len(lines)} finding{'s' * (len(lines) != 1)}", lines)
    return verdict.fleet


def judge(files: Mapping[str, Content], ignore: Collection[str] = (), before: Fleet | None = None) -> Verdict:
    """Everything that the rules, less those to ``ignore``, say of the files (content by path).

    ``before`` is the fleet that a change starts from: then the change is judged too.
    """
    reading = _Reading()
    findings = list(islice(reading.read(files), FINDINGS_MAX + 1))
    whole = not findings
    fleet = Fleet.of(reading.objects.values())
    findings += (beyond := list(bounds.exceeded(fleet)))
    if not beyond:
        # To their end: what is cut before its severity is known may be the error behind many notes.
        findings += rules.check(fleet, whole=whole)
    if before is not None:
        findings += withdrawn(before, fleet, whole=whole)
    unasked = () if before is not None else (MANAGEMENT_WITHDRAWN.id,)
    said = judged(findings, reading.objects, RULES, unasked if whole and not beyond else RULES)
    found = sorted((f for f in said if f.rule not in ignore), key=_weight)
    kept = sorted(found[:FINDINGS_MAX], key=_place)
    derivable = not any(RULES[f.rule].fixed for f in said)
    return Verdict(fleet, tuple(kept), len(found) > FINDINGS_MAX, derivable)


def _weight(finding: Finding) -> tuple[bool, int, tuple[Location, str, str, str, str]]:
    """What is told first where not all can be: errors, and what nobody has silenced."""
    return bool(finding.silenced), list(Severity).index(finding.severity), _place(finding)


def _place(finding: Finding) -> tuple[Location, str, str, str, str]:
    return (finding.location, finding.object, finding.field, finding.rule, finding.message)


@dataclass(slots=True)
class _Reading:
    """The documents of a repo as they are read."""

    objects: dict[ObjectRef, Object[SpecModel]] = field(default_factory=dict)
    documents: int = 0
    values: int = 0

    def read(self, files: Mapping[str, Content]) -> Iterator[Finding]:
        """Fills ``objects``; what is wrong is found as it is asked for."""
        for path in sorted(files):
            documents, wrong = parse(path, files[path])
            for document in documents:
                self.documents += 1
                self.values += document.size
                if self.documents > DOCUMENTS_MAX or self.values > VALUES_MAX:
                    message = "the repo has more documents or values than a box reads; the rest is not read"
                    yield Finding(document.locate(()), "", "", message, TOO_MUCH.id)
                    return
                yield from self._object(document)
            yield from wrong

    def _object(self, document: Document) -> Iterator[Finding]:
        obj, errors = envelope.read(document)
        yield from errors
        if obj is None:
            return
        first = self.objects.setdefault(obj.ref, obj)
        if first is not obj:
            where, other = (d.locate(("metadata", "name")) for d in (document, first.document))
            message = f"declared twice, first at {other}"
            yield Finding(where, str(obj.ref), "metadata.name", message, DECLARED_TWICE.id, other=other)
