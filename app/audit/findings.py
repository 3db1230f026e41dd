"""What a check of the record reports, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Finding", "Findings", "Report", "Trouble"]

KEPT = 200


class Trouble(StrEnum):
    """What is wrong with the record, or with the heads that vouch for it."""

    ALTERED = "altered"  # an entry edited, or put in another's place
    DELETED = "deleted"
    INSERTED = "inserted"
    BROKEN = "broken"  # a link that does not follow from the one before
    REWRITTEN = "rewritten"  # a chain that agrees with itself but not with a signed head
    TRUNCATED = "truncated"
    UNSEALED = "unsealed"
    HEAD = "head"  # a head that is forged, torn, out of order or missing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: what kind, a plain sentence, and the link and entry where they are known."""

    trouble: Trouble
    message: str
    seq: int | None = None
    entry: int | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one check.

    ``links`` were recomputed, the last of them ``last_seq``; ``heads`` were good, and vouch
    for everything up to link ``vouched``. ``findings`` holds the first 200, ``more`` counts
    the rest.
    """

    links: int
    last_seq: int
    heads: int
    vouched: int
    findings: tuple[Finding, ...]
    more: int

    @property
    def ok(self) -> bool:
        return not self.findings

    def lines(self) -> list[str]:
        """The report as text: one line of summary, then one for each finding."""
        checked = f"{self.links:,} chained entries checked;"
        summary = f"{checked} {self.heads:,} signed heads vouch for the first {self.vouched:,}."
        if self.ok:
            return [f"The record is whole. {summary}"]
        found = [f"- {finding}" for finding in self.findings]
        rest = [f"- and {self.more:,} more"] if self.more else []
        return [f"THE RECORD HAS BEEN TAMPERED WITH OR IS INCOMPLETE. {summary}", *found, *rest]


@dataclass(slots=True)
class Findings:
    """Collects findings without growing beyond ``KEPT``, however many there are."""

    kept: list[Finding] = field(default_factory=list)
    more: int = 0

    def add(
        self, trouble: Trouble, message: str, *, seq: int | None = None, entry: int | None = None
    ) -> None:
        if len(self.kept) < KEPT:
            self.kept.append(Finding(trouble, message, seq, entry))
        else:
            self.more += 1
