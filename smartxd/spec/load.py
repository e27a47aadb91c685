"""The files of a repo to a Fleet, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from smartxd.errors import SpecError
from smartxd.objects import ObjectRef
from smartxd.spec import envelope
from smartxd.spec.check import check
from smartxd.spec.document import Finding, parse
from smartxd.spec.envelope import Object
from smartxd.spec.fields import SpecModel
from smartxd.spec.fleet import Fleet

SUFFIXES = (".yaml", ".yml")
"""What a spec file's name ends with."""

FILES_MAX = 10_000
"""Spec files of one repo."""


def load(files: Mapping[str, bytes]) -> Fleet:
    """The fleet that the files (content by path) declare; SpecError carries all findings of all files."""
    objects: dict[ObjectRef, Object[SpecModel]] = {}
    findings: list[Finding] = []
    for path in sorted(files):
        documents, wrong = parse(path, files[path])
        findings += wrong
        for document in documents:
            obj, wrong = envelope.read(document)
            findings += wrong
            if obj is None:
                continue
            first = objects.setdefault(obj.ref, obj)
            if first is not obj:
                where = document.locate(("metadata", "name"))
                message = f"declared twice, first at {first.document.locate(('metadata', 'name'))}"
                findings.append(Finding(where, str(obj.ref), "metadata.name", message))
    fleet = Fleet.of(objects.values())
    if not findings:  # the rules judge whole fleets: half of one gives findings that mislead
        findings = check(fleet)
    if findings:
        lines = tuple(str(finding) for finding in sorted(findings))
        raise SpecError(f"{len(lines)} finding{'s' * (len(lines) != 1)}", lines)
    return fleet
