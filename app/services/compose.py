"""What an officer does with an alert: writes it, weighs it, and sends it once; only the own organisation's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict
from app.models.alerts import Alert
from app.models.ledger import BULK_LANE, Dispatch
from app.permissions import Permission
from app.services import alerts, audience, deferral, dispatch, previews, staff
from app.services.alerts import Words
from app.services.budgets import allowances
from app.services.budgets.allowances import USUAL_PRICES, Allowance, Prices
from app.services.previews import Preview
from messaging.types import Channel

MOST_SENDINGS = 100  # of one alert, by commands


@dataclass(frozen=True, slots=True)
class Weight:
    """What sending would mean. ``people``: contact points by channel; ``segments`` of one text, at most."""

    people: dict[str, int]
    segments: int
    pence: Decimal
    waits: deferral.Forecast  # of these people, who does not get it now

    @property
    def pounds(self) -> Decimal:
        return (self.pence / 100).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True)
class Count:
    """How long a text will be, whichever of the organisation's senders carries it."""

    characters: int
    segments: int
    not_gsm: tuple[str, ...]  # what makes it dear
    pence: Decimal  # for one person


@dataclass(frozen=True, slots=True)
class Sent:
    """``again``: it had been sent before, and was not sent a second time."""

    dispatch_id: UUID
    again: bool


def own(session: Session, who: Who, alert_id: UUID) -> Alert:
    """An alert that somebody may read; Missing otherwise."""
    return access.row(session, who, Permission.ALERT_READ, Alert, alert_id)


def may_write(session: Session, who: Who, alert: Alert) -> bool:
    """Whether somebody may change and send it."""
    return access.may_on(session, who, Permission.ALERT_SEND, alert)


def draft(session: Session, who: Who, words: Words, *, actor: audit.Actor) -> Alert:
    """A new draft of the officer's team. Invalid names the field."""
    staff.require_areas(session, who, Permission.ALERT_DRAFT, words["audience_expression"].get("areas", []))
    return alerts.draft(session, controller=who.organisation_id, team=who.team_id, actor=actor, **words)


def change(
    session: Session, who: Who, alert_id: UUID, words: Words, *, seen: datetime, actor: audit.Actor
) -> Alert:
    """Write a draft anew. Invalid names the field; Conflict when somebody else changed or sent it meanwhile."""
    alert = own(session, who, alert_id)
    for areas in (alert.audience.get("areas", []), words["audience_expression"].get("areas", [])):
        staff.require_areas(session, who, Permission.ALERT_DRAFT, areas)
    # What the page does not ask about stays.
    words = {**words, "restricted": alert.restricted, "expires_at": alert.expires_at}
    alerts.change(session, alert, seen=seen, actor=actor, **words)
    return alert


def discard(session: Session, who: Who, alert_id: UUID, *, actor: audit.Actor) -> None:
    """Throw a draft away; Conflict when it was sent, Invalid when it is for areas of others."""
    alert = own(session, who, alert_id)
    staff.require_areas(session, who, Permission.ALERT_DRAFT, alert.audience.get("areas", []))
    alerts.discard(session, alert, actor=actor)


def weigh(
    session: Session,
    alert: Alert,
    shown: Sequence[Preview],
    *,
    segment_pence: Decimal,
    now: datetime | None = None,
) -> Weight:
    """How many it would reach now, and what that would cost at most. Invalid for an area that is no more."""
    who = audience.parse(
        alert.audience, controller=alert.controller_id, topic=alert.topic, channels=alert.channels
    )
    people = audience.count(session, who)
    segments = max((one.segments.segments for one in shown if one.segments), default=0)
    waits = deferral.Forecast()
    if dispatch.lane_of(alert) == BULK_LANE:
        starts = now or utc_now()
        waits = deferral.forecast(session, who, starts=starts, expires_at=dispatch.expiry(alert, starts))
    return Weight(people, segments, people.get(Channel.SMS, 0) * segments * segment_pence, waits)


def allowance(
    session: Session, who: Who, weight: Weight, prices: Prices, *, now: datetime
) -> tuple[list[Allowance], list[Allowance]]:
    """What the organisation may still send today and this month, and those limits that this would go over."""
    phones = weight.people.get(Channel.SMS, 0)
    wanted = allowances.load(weight.people.get(Channel.EMAIL, 0), phones * weight.segments, prices)
    found = allowances.allowances(session, who.organisation_id, allowances.day_of(now))
    return found, allowances.tight(wanted, found)


def count_text(
    session: Session,
    who: Who,
    *,
    kind: str,
    urgency: str,
    text: str,
    public_url: str,
    segment_pence: Decimal,
) -> Count:
    """A text as it would leave, while it is being written; Invalid when it cannot be."""
    # Never added: it says through which senders this organisation would write.
    wanted = Alert(controller_id=who.organisation_id, urgency=urgency, channels=[str(Channel.SMS)])
    found = [
        previews.count_text(
            session,
            controller=who.organisation_id,
            kind=kind,
            words=text,
            public_url=public_url,
            sender_kind=sender_kind,
        ).segments
        for sender_kind in sorted({s.kind for s in dispatch.choose_senders(session, wanted)})
    ]
    longest = max(found, key=lambda one: (one.segments, one.characters))
    return Count(longest.characters, longest.segments, longest.not_gsm, longest.segments * segment_pence)


def send(
    session: Session,
    who: Who,
    alert_id: UUID,
    *,
    token: str,
    seen: datetime,
    exercise: bool,
    public_url: str,
    actor: audit.Actor,
    now: datetime,
    prices: Prices = USUAL_PRICES,
) -> Sent:
    """Send an alert once: for real, and before that once as an exercise. ``seen``: its ``changed_at`` on the preview.

    A second click, a page that was loaded again and a colleague's page send nothing. Raises Missing, Invalid, or
    Conflict when it was changed since it was looked at, or is more than the organisation may send.
    """
    own(session, who, alert_id)
    locked = sa.select(Alert).where(Alert.id == alert_id).with_for_update()
    alert = session.scalars(locked.execution_options(populate_existing=True)).one_or_none()
    if alert is None:
        raise Conflict("Somebody has discarded this alert.")
    before = _sendings(session, alert_id, exercise=exercise)
    if before:
        mine = next((one for one, its_token in before if its_token == token), None)
        return Sent(mine or before[0][0], again=mine is None)
    if alert.changed_at != seen:
        raise Conflict("Somebody has changed this alert since you looked at it. Look at it again.")
    staff.require_areas(session, who, Permission.ALERT_SEND, alert.audience.get("areas", []))
    frozen = dispatch.send(
        session,
        alert_id,
        token=token,
        actor=actor,
        public_url=public_url,
        exercise=exercise,
        prices=prices,
        now=now,
    )
    return Sent(frozen.id, again=frozen.repeated)


def already(session: Session, alert_id: UUID) -> UUID | None:
    """The dispatch that sent an alert for real, if it was."""
    return next((one for one, _ in _sendings(session, alert_id, exercise=False)), None)


def _sendings(session: Session, alert_id: UUID, *, exercise: bool) -> list[tuple[UUID, str]]:
    """What makes another sending impossible, with its token: the real one; and of an exercise, any."""
    query = sa.select(Dispatch.id, Dispatch.send_token).where(Dispatch.alert_id == alert_id)
    if not exercise:
        query = query.where(sa.not_(Dispatch.exercise))
    rows = session.execute(query.order_by(Dispatch.exercise, Dispatch.id).limit(MOST_SENDINGS))
    return [(one, token) for one, token in rows]
