"""ASPathList: AS paths that policies match."""

from __future__ import annotations

from pydantic import Field, model_validator

from smartxd.spec.fields import Seq, SpecModel
from smartxd.spec.kinds.communitylist import Regex
from smartxd.spec.kinds.prefixlist import Action, in_order


class ASPathEntry(SpecModel):
    """Routes whose AS path the expression matches."""

    seq: Seq
    action: Action = Field(description="what happens to those that match")
    regex: Regex = Field(description="over the AS path; '_' stands for a border between AS numbers")


class ASPathListSpec(SpecModel):
    """A list of AS path expressions; what no entry matches is denied."""

    entries: tuple[ASPathEntry, ...] = Field(
        min_length=1, max_length=10_000, description="tried in the order of their sequence numbers"
    )

    @model_validator(mode="after")
    def _ordered(self) -> ASPathListSpec:
        in_order(self.entries)
        return self
