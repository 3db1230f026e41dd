"""What an organisation agreed to so that its data may be used: kept by title, reference and dates, reviewed in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.access import Agreement
from app.models.organisations import Organisation
from app.permissions import Permission

KINDS = {
    "sharing": "Data sharing agreement",
    "dpia": "Data protection impact assessment",
    "terms": "Terms of use",
    "processor": "Processor agreement",
}
LONGEST_TITLE, LONGEST_REFERENCE = 200, 100
EARLIEST = date(1998, 1, 1)
LONGEST_REVIEW = timedelta(days=10 * 366)
MOST = 200  # that run at a time
SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Standing:
    """An agreement as the page shows it. ``review``: "overdue", "soon" or "later"; of one that ended, "over"."""

    id: UUID
    kind: str
    title: str
    reference: str
    signed_on: date
    review_on: date
    ended_at: datetime | None
    review: str


def listed(session: Session, organisation: UUID, *, today: date, ended: bool = False) -> list[Standing]:
    """An organisation's agreements that run, the next to be reviewed first; or the last that ended."""
    query = sa.select(Agreement).where(Agreement.organisation_id == organisation)
    if ended:
        query = query.where(Agreement.ended_at.is_not(None)).order_by(Agreement.ended_at.desc(), Agreement.id)
    else:
        query = query.where(Agreement.ended_at.is_(None)).order_by(Agreement.review_on, Agreement.id)
    return [_standing(one, today) for one in session.scalars(query.limit(MOST))]


def own(session: Session, by: Who, agreement_id: UUID, *, today: date) -> Standing:
    """One that somebody may change; Missing otherwise."""
    return _standing(access.row(session, by, Permission.ORGANISATION_ALTER, Agreement, agreement_id), today)


def add(
    session: Session,
    organisation: UUID,
    *,
    kind: str,
    title: str,
    reference: str,
    signed_on: date,
    review_on: date,
    by: Who | None,
    actor: audit.Actor,
    today: date,
) -> Agreement:
    """A new agreement. ``by``: the administrator; None: the operator. Raises Invalid, Missing or Conflict."""
    if by is not None and (
        organisation != by.organisation_id or not access.may(by, Permission.ORGANISATION_ALTER)
    ):
        raise Missing("There is no such organisation.")
    controller = session.get(Organisation, organisation, with_for_update={"key_share": True})
    if controller is None or controller.ended_at is not None:
        raise Missing("There is no such organisation.")
    if kind not in KINDS:
        raise Invalid("kind", f"Choose one of: {', '.join(KINDS)}.")
    title, reference = _words(title, reference)
    if not EARLIEST <= signed_on <= today:
        raise Invalid("signed_on", "The day of signing must be in the past, and not before 1998.")
    _review(signed_on, review_on, today)
    running = sa.select(sa.func.count()).where(
        Agreement.organisation_id == organisation, Agreement.ended_at.is_(None)
    )
    if session.execute(running).scalar_one() >= MOST:
        raise Conflict(f"An organisation has at most {MOST} agreements. End those that are over.")
    found = Agreement(
        organisation_id=organisation,
        kind=kind,
        title=title,
        reference=reference,
        signed_on=signed_on,
        review_on=review_on,
    )
    session.add(found)
    session.flush()
    _record(session, found, "agreement:add", actor)
    return found


def alter(
    session: Session,
    agreement_id: UUID,
    *,
    title: str,
    reference: str,
    review_on: date,
    by: Who | None,
    actor: audit.Actor,
    today: date,
) -> Agreement:
    """Change title, reference and the day of the next review, as after one. Invalid, Missing, Conflict for ended."""
    found = _running(session, by, agreement_id)
    found.title, found.reference = _words(title, reference)
    if review_on != found.review_on:
        _review(found.signed_on, review_on, today)
    found.review_on = review_on
    session.flush()
    _record(session, found, "agreement:alter", actor)
    return found


def end(
    session: Session, agreement_id: UUID, *, by: Who | None, actor: audit.Actor, now: datetime
) -> Agreement:
    """It holds no longer. Missing; Conflict when it has ended."""
    found = _running(session, by, agreement_id)
    found.ended_at = now
    session.flush()
    _record(session, found, "agreement:end", actor)
    return found


def _running(session: Session, by: Who | None, agreement_id: UUID) -> Agreement:
    if by is None:
        found = session.get(Agreement, agreement_id, with_for_update=True)
    else:
        found = access.row(session, by, Permission.ORGANISATION_ALTER, Agreement, agreement_id, lock=True)
    if found is None:
        raise Missing("There is no such agreement.")
    if found.ended_at is not None:
        raise Conflict("This agreement has ended.")
    return found


def _words(title: str, reference: str) -> tuple[str, str]:
    title, reference = title.strip(), reference.strip()
    if not title or len(title) > LONGEST_TITLE or not title.isprintable():
        raise Invalid("title", f"The title must have 1 to {LONGEST_TITLE} characters.")
    if len(reference) > LONGEST_REFERENCE or not reference.isprintable():
        raise Invalid("reference", f"The reference must be {LONGEST_REFERENCE} characters or fewer.")
    return title, reference


def _review(signed_on: date, review_on: date, today: date) -> None:
    if not max(signed_on, today) < review_on <= today + LONGEST_REVIEW:
        raise Invalid("review_on", "The day of the review must be in the future, and within ten years.")


def _standing(one: Agreement, today: date) -> Standing:
    if one.ended_at is not None:
        review = "over"
    elif one.review_on < today:
        review = "overdue"
    else:
        review = "soon" if one.review_on <= today + SOON else "later"
    return Standing(
        one.id, one.kind, one.title, one.reference, one.signed_on, one.review_on, one.ended_at, review
    )


def _record(session: Session, found: Agreement, event: str, actor: audit.Actor) -> None:
    audit.record(
        session,
        event=event,
        subject=f"agreement:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        detail={"kind": found.kind, "review": f"{found.review_on:%Y-%m-%d}"},
    )
