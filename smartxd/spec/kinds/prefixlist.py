"""PrefixList: prefixes that policies let pass or stop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from pydantic import Field, model_validator

from smartxd.spec.addresses import Family, Prefix, family_of
from smartxd.spec.fields import Seq, SpecModel, Whole, wrong_field

Action = Literal["permit", "deny"]


class Sequenced(Protocol):
    """An entry of a list or of a map."""

    @property
    def seq(self) -> int:
        """Its place among the others."""
        ...


def in_order(entries: Iterable[Sequenced]) -> None:
    """ValueError unless the ``entries`` stand in the order in which they are tried, each number once."""
    before = 0
    for i, entry in enumerate(entries):
        if entry.seq <= before:
            what = "is given twice" if entry.seq == before else f"stands behind {before}"
            message = f"seq {entry.seq} {what}; write entries in the order in which they are tried"
            raise wrong_field(message, "entries", i, "seq")
        before = entry.seq


class PrefixEntry(SpecModel):
    """Prefixes of one block, by their length."""

    seq: Seq
    action: Action = Field(description="what happens to those that match")
    prefix: Prefix = Field(description="the block that they are in")
    ge: Whole | None = Field(default=None, ge=0, le=128, description="the shortest length that matches")
    le: Whole | None = Field(default=None, ge=0, le=128, description="the longest length that matches")

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest length that match."""
        own, longest = self.prefix.prefixlen, self.prefix.max_prefixlen
        if self.ge is None and self.le is None:
            return own, own
        return self.ge if self.ge is not None else own, self.le if self.le is not None else longest

    @model_validator(mode="after")
    def _lengths_fit(self) -> PrefixEntry:
        own, longest = self.prefix.prefixlen, self.prefix.max_prefixlen
        # FRR refuses a ge that is the block's own length; leaving it out means the same.
        if self.ge is not None and self.ge <= own:
            message = f"ge {self.ge} must be more than the {own} of {self.prefix}; leave it out"
            raise wrong_field(message, "ge")
        for key, length in (("ge", self.ge), ("le", self.le)):
            if length is not None and length > longest:
                family = family_of(self.prefix)
                raise wrong_field(f"{key} {length} must be at most {longest}, as the prefix is {family}", key)
        shortest, last = self.lengths
        if last < shortest:
            than = f"ge {shortest}" if self.ge is not None else f"the {own} of {self.prefix}"
            raise wrong_field(f"le {last} must be at least {than}", "le")
        return self


class PrefixListSpec(SpecModel):
    """A list of prefixes; what no entry matches is denied."""

    family: Family = Field(default="ipv4", description="of its prefixes")
    entries: tuple[PrefixEntry, ...] = Field(
        min_length=1, max_length=10_000, description="tried in the order of their sequence numbers"
    )

    @model_validator(mode="after")
    def _consistent(self) -> PrefixListSpec:
        in_order(self.entries)
        for i, entry in enumerate(self.entries):
            if family_of(entry.prefix) != self.family:
                message = f"{entry.prefix} is not {self.family}, as the family of the list is"
                raise wrong_field(message, "entries", i, "prefix")
        return self
