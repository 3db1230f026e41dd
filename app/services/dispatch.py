"""Sending an alert: one transaction that freezes who, what and through whom; then a ring.

Everything after this point reads what is frozen here. A second call with the same token is
the same dispatch.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import queue
from app.audit import record as audit
from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.alerts import Alert
from app.models.ledger import BULK_LANE, URGENT_LANE, Dispatch, DispatchContent
from app.models.organisations import Organisation, Sender, SenderController
from app.services import alerts, audience, freeze, pausing, published, rendering
from app.services.budgets import reserving
from app.services.budgets.allowances import USUAL_PRICES, Prices
from config.queues import Queue
from messaging.types import Channel

LIFETIME = {"risk-to-life": timedelta(hours=6), "urgent": timedelta(hours=12), "routine": timedelta(days=2)}
MOST_RINGS = 8


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dispatch as it was frozen; ``repeated`` when the token had been used before."""

    id: UUID
    recipients: int
    batches: int
    digested: int = 0  # of the recipients, those who get it in a digest
    repeated: bool = False


def send(
    session: Session,
    alert_id: UUID,
    *,
    token: str,
    actor: audit.Actor,
    public_url: str,
    exercise: bool = False,
    prices: Prices = USUAL_PRICES,
    not_before: datetime | None = None,
    now: datetime | None = None,
) -> Frozen:
    """Freeze one dispatch of an alert and ring for it after the commit.

    Raises Missing, Invalid (unknown area, no sender) or Conflict (the frozen batches do not add up, they are more than
    the organisation may send or spend, or it has ended).
    """
    now = now or utc_now()
    if not 8 <= len(token) <= 100 or not token.isprintable():
        raise Invalid("token", "The send token must be 8 to 100 printable characters.")
    alert = session.get(Alert, alert_id, with_for_update=True)
    if alert is None:
        raise Missing("There is no such alert.")
    before = session.execute(sa.select(Dispatch).where(Dispatch.send_token == token)).scalar_one_or_none()
    if before is not None:
        if before.alert_id != alert.id:
            raise Conflict("This send token belongs to another alert.")
        return _as_sent(session, before)
    who = audience.parse(
        alert.audience, controller=alert.controller_id, topic=alert.topic, channels=alert.channels
    )
    audience.require_known(session, who)
    lane = lane_of(alert)
    senders = choose_senders(session, alert)
    expires_at = expiry(alert, not_before or now)
    if expires_at <= max(now, not_before or now):
        raise Invalid("expires_at", "This alert has expired: give it a later end.")
    dispatch = Dispatch(
        id=new_id(),
        alert_id=alert.id,
        controller_id=alert.controller_id,
        send_token=token,
        urgency=alert.urgency,
        lane=lane,
        topic=alert.topic,
        exercise=exercise,
        recipients=0,
        not_before=not_before or now,
        expires_at=expires_at,
    )
    session.add(dispatch)
    session.flush()
    # Its row holds the organisation's: whoever ends that comes before this, or waits for it.
    if session.scalar(sa.select(Organisation.ended_at).where(Organisation.id == alert.controller_id)):
        raise Conflict("This organisation has ended: nothing is sent.")
    segments = _render(session, alert, dispatch, senders, public_url)
    session.flush()
    counted = freeze.freeze(
        session, dispatch, who, senders=senders, language=alert.language, segments=segments
    )
    dispatch.recipients, dispatch.digested = counted.recipients, counted.digested
    if alert.state != "sent":  # what was sent before stays as it was
        alert.state, alert.changed_at = "sent", now
    if not exercise:
        published.publish(session, alert, now=dispatch.not_before)
    reserving.reserve(session, dispatch, prices)
    audit.record(
        session,
        event="alert:send",
        subject=f"alert:{alert.id}",
        actor=actor,
        organisation=alert.controller_id,
        area=alerts.area_of(alert),
        detail={
            "dispatch": str(dispatch.id),
            "recipients": counted.recipients,
            "batches": counted.batches,
            "digested": counted.digested,
            "exercise": exercise,
        },
    )
    session.flush()
    _ring(session, lane, min(counted.batches, MOST_RINGS))
    return Frozen(dispatch.id, counted.recipients, counted.batches, counted.digested)


def _ring(session: Session, lane: int, times: int) -> None:
    urgent = lane == URGENT_LANE
    # Rings that are alike are rung once: the number lets several workers hear.
    for nth in range(times):
        queue.ring(
            session, Queue.URGENT if urgent else Queue.BULK, "workers.send.drain", urgent=urgent, nth=nth
        )


def _as_sent(session: Session, dispatch: Dispatch) -> Frozen:
    batches = freeze.counted(session, dispatch.id).batches
    return Frozen(dispatch.id, dispatch.recipients, batches, dispatch.digested, repeated=True)


def expiry(alert: Alert, starts: datetime) -> datetime:
    """When a dispatch that begins then is over: what has not left by then never will."""
    return min(
        alert.expires_at or datetime.max.replace(tzinfo=starts.tzinfo), starts + LIFETIME[alert.urgency]
    )


def lane_of(alert: Alert) -> int:
    return BULK_LANE if alert.urgency == "routine" else URGENT_LANE


def choose_senders(session: Session, alert: Alert) -> list[Sender]:
    """The senders of its lane per channel; urgent falls back to bulk rather than stay silent.

    Invalid when a channel has none.
    """
    lane = lane_of(alert)
    available = session.scalars(
        sa.select(Sender)
        .join(SenderController, SenderController.sender_id == Sender.id)
        .where(SenderController.organisation_id == alert.controller_id, Sender.active)
        .order_by(Sender.id)
    ).all()
    wanted = "urgent" if lane == URGENT_LANE else "bulk"
    chosen: list[Sender] = []
    for channel in alert.channels:
        of_channel = [s for s in available if s.channel == channel]
        pool = [s for s in of_channel if s.lane == wanted] or [s for s in of_channel if lane == URGENT_LANE]
        if not pool:
            name = "e-mail address" if channel == Channel.EMAIL else "number"
            raise Invalid("channels", f"This organisation has no {name} to send from.")
        chosen.extend(pool)
    return chosen


def _render(
    session: Session, alert: Alert, dispatch: Dispatch, senders: list[Sender], public_url: str
) -> dict[str, int]:
    """Write what will be said, once per channel and kind of sender; segments per text message."""
    nonce = secrets.token_hex(6)
    segments = {rendering.TWO_WAY: 1, rendering.ALPHANUMERIC: 1}
    kinds = sorted({(s.channel, s.kind) for s in senders})
    for one in rendering.rendered(
        session, alert, kinds, nonce=nonce, public_url=public_url, exercise=dispatch.exercise
    ):
        if one.channel == Channel.SMS:
            segments[one.sender_kind] = rendering.segments(one.text, public_url).segments
        session.add(
            DispatchContent(
                dispatch_id=dispatch.id,
                channel=one.channel,
                language=alert.language,
                sender_kind=one.sender_kind,
                nonce=nonce,
                subject=one.subject,
                text=one.text,
                html=one.html,
            )
        )
    return segments


_STOP_ITEMS = sa.text(
    "UPDATE digest_items SET state = 'stopped', settled_at = now() WHERE dispatch_id = :d AND state = 'waiting'"
)


def stop(session: Session, dispatch_id: UUID, *, actor: audit.Actor, why: str) -> None:
    """Stop a dispatch within one batch or window. Those not yet sent to end as *stopped*, as do those who wait
    for a digest, even when everything else has left.
    """
    if not why.strip() or len(why) > 500:
        raise Invalid("why", "Say in up to 500 characters why it is stopped.")
    dispatch = session.get(Dispatch, dispatch_id, with_for_update=True)
    if dispatch is None:
        raise Missing("There is no such dispatch.")
    waiting = session.execute(_STOP_ITEMS, {"d": dispatch_id}).rowcount  # type: ignore[attr-defined]
    if dispatch.finished_at is not None and not waiting:
        raise Conflict("This dispatch has already finished.")
    if dispatch.state == "stopped":
        return
    dispatch.state = "stopped"
    dispatch.stopped_at = utc_now()
    session.flush()
    pausing.hasten(session, dispatch_id)
    audit.record(
        session,
        event="dispatch:stop",
        subject=f"dispatch:{dispatch_id}",
        actor=actor,
        organisation=dispatch.controller_id,
        area=pausing.area_of(session, dispatch),
        why=why,
    )
    _ring(session, dispatch.lane, 1)
