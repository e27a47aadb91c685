"""The files of a repo to a Fleet, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

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

FINDINGS_MAX = 500
"""Findings that are told: more are not read by anybody, and a hostile file could have 200 000."""


def load(files: Mapping[str, bytes]) -> Fleet:
    """The fleet that the files (content by path) declare; SpecError carries all findings of all files."""
    objects: dict[ObjectRef, Object[SpecModel]] = {}
    findings = list(islice(_read(files, objects), FINDINGS_MAX + 1))
    fleet = Fleet.of(objects.values())
    if not findings:  # the rules judge whole fleets: half of one gives findings that mislead
        findings = check(fleet)
    if findings:
        lines = tuple(str(finding) for finding in sorted(findings[:FINDINGS_MAX]))
        more = "more than " * (len(findings) > FINDINGS_MAX)
        raise SpecError(f"{more}{len(lines)} finding{'s' * (len(lines) != 1)}", lines)
    return fleet


def _read(files: Mapping[str, bytes], objects: dict[ObjectRef, Object[SpecModel]]) -> Iterator[Finding]:
    """Fills ``objects``; what is wrong is found as it is asked for."""
    for path in sorted(files):
        documents, wrong = parse(path, files[path])
        for document in documents:
            obj, errors = envelope.read(document)
            yield from errors
            if obj is None:
                continue
            first = objects.setdefault(obj.ref, obj)
            if first is not obj:
                where = document.locate(("metadata", "name"))
                message = f"declared twice, first at {first.document.locate(('metadata', 'name'))}"
                yield Finding(where, str(obj.ref), "metadata.name", message)
        yield from wrong
