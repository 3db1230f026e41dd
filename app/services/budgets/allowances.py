"""What an organisation may send and spend in a day and a month of London's, and how much of it is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid
from app.models.limits import MEASURES, PERIODS, OrganisationLimit
from app.models.organisations import Organisation

LONDON = ZoneInfo("Europe/London")
LARGEST = 10**12


@dataclass(frozen=True, slots=True)
class Prices:
    """What one text segment and one e-mail cost, in pence: SMS_SEGMENT_PENCE and EMAIL_PENCE."""

    segment: Decimal = Decimal(4)
    email: Decimal = Decimal(0)


USUAL_PRICES = Prices()  # the settings' own defaults


@dataclass(frozen=True, slots=True)
class Load:
    """What a sending takes. ``cost`` in hundredths of a penny."""

    emails: int = 0
    segments: int = 0
    cost: int = 0

    def of(self, measure: str) -> Decimal:
        """In the unit of a limit: e-mails, segments, pence."""
        if measure == "pence":
            return Decimal(self.cost) / 100
        return Decimal(self.emails if measure == "emails" else self.segments)


def load(emails: int, segments: int, prices: Prices) -> Load:
    """So many e-mails and text segments at these prices, rounded up once."""
    pence = emails * prices.email + segments * prices.segment
    return Load(emails, segments, int((pence * 100).to_integral_value(ROUND_CEILING)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit and how much of it is taken; ``starts`` is the London day, or the first of the month."""

    period: str
    measure: str
    starts: date
    most: int
    used: Decimal

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.most - self.used)

    def allows(self, wanted: Load) -> bool:
        """Whether this much still fits. What takes nothing of a measure fits, however much is taken."""
        needed = wanted.of(self.measure)
        return not needed or self.used + needed <= self.most


def limits(session: Session, organisation: UUID) -> dict[tuple[str, str], int]:
    """(period, measure) → most, for those that are set."""
    rows = session.execute(
        sa.select(OrganisationLimit.period, OrganisationLimit.measure, OrganisationLimit.most).where(
            OrganisationLimit.organisation_id == organisation
        )
    )
    return {(period, measure): most for period, measure, most in rows}


def set_limits(
    session: Session,
    organisation: Organisation,
    changes: Mapping[tuple[str, str], int | None],
    *,
    actor: audit.Actor,
) -> None:
    """Set limits by (period, measure); None takes one away. Invalid for a figure that cannot be one.

    What is taken already stays: a lower limit refuses what comes after it.
    """
    detail: dict[str, int | str] = {}
    for (period, measure), most in changes.items():
        if period not in PERIODS or measure not in MEASURES:
            raise Invalid("limits", "A limit is of e-mails, segments or pence, in a day or a month.")
        if most is not None and not 0 <= most <= LARGEST:
            raise Invalid("limits", f"A limit is a whole number from 0 to {LARGEST:,}.")
        found = session.get(OrganisationLimit, (organisation.id, period, measure), with_for_update=True)
        if most is None:
            if found is not None:
                session.delete(found)
        elif found is None:
            session.add(
                OrganisationLimit(organisation_id=organisation.id, period=period, measure=measure, most=most)
            )
        else:
            found.most = most
        detail[f"{measure}_per_{period}"] = "none" if most is None else most
    session.flush()
    if detail:
        audit.record(
            session,
            event="organisation:limits",
            subject=f"organisation:{organisation.id}",
            actor=actor,
            organisation=organisation.id,
            detail=detail,
        )


# Risk to life is counted a moment after its freeze; until then it stands with its reservation alone.
_USED = sa.text(
    """
    SELECT period, CAST(sum(emails) AS bigint), CAST(sum(segments) AS bigint), CAST(sum(cost) AS bigint)
    FROM (
        SELECT period, emails, segments, cost FROM spend_counters
        WHERE organisation_id = :organisation AND (period = 'day' AND starts = :day OR period = 'month' AND starts = :month)
        UNION ALL
        SELECT p.period, r.emails, r.segments, r.cost
        FROM reservations r CROSS JOIN (VALUES ('day'), ('month')) AS p(period)
        WHERE r.settled_at IS NULL AND NOT r.counted AND r.organisation_id = :organisation
          AND (r.day = :day OR p.period = 'month' AND date_trunc('month', r.day) = CAST(:month AS date))
    ) taken GROUP BY period
    """
)


def allowances(session: Session, organisation: UUID, day: date) -> list[Allowance]:
    """Every limit of an organisation with what is taken of it on ``day`` and in its month; the day's first."""
    most = limits(session, organisation)
    if not most:
        return []
    starts = starts_of(day)
    used = {
        period: Load(*taken)
        for period, *taken in session.execute(_USED, {"organisation": organisation, **starts})
    }
    return [
        Allowance(p, m, starts[p], most[p, m], used.get(p, Load()).of(m))
        for p in PERIODS
        for m in MEASURES
        if (p, m) in most
    ]


def tight(wanted: Load, found: Iterable[Allowance]) -> list[Allowance]:
    """The limits that a sending would go over."""
    return [one for one in found if not one.allows(wanted)]


def day_of(moment: datetime) -> date:
    """London's date."""
    return moment.astimezone(LONDON).date()


def starts_of(day: date) -> dict[str, date]:
    """Period → the day on which the one that holds ``day`` begins."""
    return {"day": day, "month": day.replace(day=1)}


_NAMES = {"emails": ("e-mail", "e-mails"), "segments": ("text segment", "text segments")}


def amount(measure: str, value: Decimal | int) -> str:
    """ "1,200 text segments" or "£12.50"."""
    if measure == "pence":
        return f"£{Decimal(value) / 100:,.2f}"
    return f"{int(value):,} {_NAMES[measure][int(value) != 1]}"


def when(one: Allowance) -> str:
    """ "on 3 November" or "in November 2026"."""
    return f"on {one.starts:%-d %B}" if one.period == "day" else f"in {one.starts:%B %Y}"


def refusal(one: Allowance, wanted: Load) -> str:
    """Why a limit does not allow a sending, with the figures, and what to do."""
    verb = "is" if one.measure == "pence" or int(one.left) == 1 else "are"
    return (
        f"This alert needs {amount(one.measure, wanted.of(one.measure))}. Your organisation may send "
        f"{amount(one.measure, one.most)} {when(one)}, of which {amount(one.measure, one.left)} {verb} left. "
        "Choose fewer areas or channels, send it later, or ask your administrator for a higher limit."
    )
