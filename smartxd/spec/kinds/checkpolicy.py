"""CheckPolicy: how severe the rules of ``validate`` are in this repo."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from smartxd.spec.fields import SpecModel


def _rule_id(value: str) -> str:
    if not re.fullmatch(r"SX[0-9]{3}", value):
        raise ValueError("the ID of a rule is SX and three digits, as SX301")
    return value


RuleID = Annotated[str, AfterValidator(_rule_id)]


class CheckPolicySpec(SpecModel):
    """The severity of rules, for CI and for the boxes alike; one such object for a repo."""

    rules: dict[RuleID, Literal["error", "warning", "note", "off"]] = Field(
        description="error refuses the commit, warning fails CI only, note is said, off is not even that"
    )
