"""How severe findings are in this repo: what its CheckPolicy says, and what annotations silence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from smartxd.objects import ObjectRef
from smartxd.spec.envelope import Object
from smartxd.spec.finding import Finding, Rule, Severity

ANNOTATION = "check.smartx.io/"
"""An annotation ``check.smartx.io/SX301: reason`` silences a rule for its object."""

BAD_SETTING = Rule(
    "SX008",
    "check-setting",
    "What a CheckPolicy or an annotation says of a rule can be said of it.",
    "A repo has one CheckPolicy. It and the annotations `check.smartx.io/<rule>: <reason>` name rules that"
    " exist, an annotation gives a reason, and neither speaks of a rule that is marked *fixed*: without it"
    " no box can be derived from the specs.",
    fixed=True,
)
SILENCES_NOTHING = Rule(
    "SX009",
    "silences-nothing",
    "An annotation that silences a rule silences a finding.",
    "What it silenced is mended, or it never was there. Remove the annotation, so that it does not hide the"
    " next one.",
    severity=Severity.NOTE,
)
RULES = (BAD_SETTING, SILENCES_NOTHING)


def judged(
    findings: Iterable[Finding],
    objects: Mapping[ObjectRef, Object[Any]],
    rules: Mapping[str, Rule],
    unasked: Collection[str],
) -> list[Finding]:
    """The findings as this repo takes them; those of rules that are off are left out.

    Of rules that were ``unasked`` it cannot be told whether an annotation silences anything.
    """
    policies = [obj for ref, obj in sorted(objects.items()) if ref.kind == "CheckPolicy"]
    said = list(_bad_policies(policies, rules))
    severities: dict[str, str] = dict(policies[0].spec.rules) if policies else {}
    reasons: dict[tuple[str, str], str] = {}
    for ref, obj in objects.items():
        for key, reason in obj.metadata.annotations.items():
            if not key.startswith(ANNOTATION):
                continue
            rule = key.removeprefix(ANNOTATION)
            if wrong := _wrong(rule, rules) or ("" if reason else "give the reason"):
                said.append(_at_annotation(BAD_SETTING, obj, key, wrong))
            else:
                reasons[str(ref), rule] = reason
    taken = [_taken(finding, rules, severities, reasons) for finding in (*findings, *said)]
    kept = [finding for finding in taken if finding is not None]
    effective = {(f.object, f.rule) for f in kept if f.silenced}
    for ref_text, rule in sorted(reasons):
        if (ref_text, rule) not in effective and severities.get(rule) != "off" and rule not in unasked:
            obj = objects[ObjectRef.parse(ref_text)]
            silent = _at_annotation(SILENCES_NOTHING, obj, ANNOTATION + rule, "silences nothing")
            kept += filter(None, [_taken(silent, rules, severities, reasons)])
    return kept


def _taken(
    finding: Finding,
    rules: Mapping[str, Rule],
    severities: Mapping[str, str],
    reasons: Mapping[tuple[str, str], str],
) -> Finding | None:
    if rules[finding.rule].fixed:
        return finding
    severity = severities.get(finding.rule, finding.severity)
    if severity == "off":
        return None
    silenced = reasons.get((finding.object, finding.rule), "")
    return replace(finding, severity=Severity(severity), silenced=silenced)


def _bad_policies(policies: list[Object[Any]], rules: Mapping[str, Rule]) -> Iterator[Finding]:
    for policy in policies[1:]:
        first = policies[0]
        message = f"a repo has one CheckPolicy; {first.ref} is at {first.at()}"
        yield policy.finding(BAD_SETTING, (), message, other=first.at())
    for policy in policies[:1]:
        for rule in policy.spec.rules:
            if wrong := _wrong(rule, rules):
                yield policy.finding(BAD_SETTING, ("rules", rule), wrong)


def _wrong(rule: str, rules: Mapping[str, Rule]) -> str:
    """Why nothing can be said of a rule; empty where it can."""
    if rule not in rules:
        return "no such rule; docs/rules.md has them all"
    return "is fixed: no box can be derived from specs that break it" if rules[rule].fixed else ""


def _at_annotation(rule: Rule, obj: Object[Any], key: str, message: str) -> Finding:
    where = obj.document.locate(("metadata", "annotations", key))
    field = f"metadata.annotations.{key}"
    return Finding(where, str(obj.ref), field, message, rule.id, rule.severity)
