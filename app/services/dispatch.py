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
from app.models.alerts import Alert
from app.models.ledger import BATCH_SIZE, BULK_LANE, URGENT_LANE, Dispatch, DispatchContent
from app.models.organisations import Sender, SenderController
from app.services import audience, published, rendering
from app.services.errors import Conflict, Invalid, Missing
from config.queues import Queue
from messaging.types import Channel

LIFETIME = {"risk-to-life": timedelta(hours=6), "urgent": timedelta(hours=12), "routine": timedelta(days=2)}
# Small enough that one sender's texts do not hold a lease for minutes.
SMS_BATCH = 500
MOST_RINGS = 8


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dispatch as it was frozen; ``repeated`` when the token had been used before."""

    id: UUID
    recipients: int
    batches: int
    repeated: bool = False


_FREEZE = sa.text(
    audience.RECIPIENTS
    + """
    , pool AS (
        SELECT id, channel, kind,
            row_number() OVER (PARTITION BY channel ORDER BY id) - 1 AS turn,
            count(*) OVER (PARTITION BY channel) AS senders
        FROM senders WHERE id = ANY(CAST(:senders AS int[]))
    ), placed AS (
        SELECT r.id, r.channel, pool.id AS sender_id, pool.kind,
            row_number() OVER (PARTITION BY pool.id ORDER BY r.id) - 1 AS place
        FROM recipients r
        -- The same person hears from the same number, so that STOP and replies make sense.
        JOIN pool ON pool.channel = r.channel AND pool.turn = r.id % pool.senders
    ), grouped AS (
        SELECT channel, sender_id, kind,
            place / CASE channel WHEN 'sms' THEN :sms_batch ELSE :batch END AS chunk,
            array_agg(id ORDER BY id) AS ids, count(*) AS size
        FROM placed GROUP BY 1, 2, 3, 4
    )
    INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise,
        contact_ids, size, reserved_segments, not_before, expires_at)
    SELECT :dispatch, row_number() OVER (ORDER BY chunk, channel, sender_id) - 1, channel, :language, :controller,
        sender_id, :lane, :urgency, :exercise, ids, size,
        CASE channel WHEN 'sms' THEN size * CASE kind WHEN 'two-way' THEN :segments_two_way ELSE :segments_one_way END
            ELSE 0 END,
        :not_before, :expires_at
    FROM grouped
    """
)
_SUMS = sa.text(
    """
    SELECT count(*), coalesce(sum(size), 0),
        (SELECT count(DISTINCT id) FROM batches x, unnest(x.contact_ids) AS id WHERE x.dispatch_id = :dispatch)
    FROM batches WHERE dispatch_id = :dispatch
    """
)


def send(
    session: Session,
    alert_id: UUID,
    *,
    token: str,
    actor: audit.Actor,
    public_url: str,
    exercise: bool = False,
    not_before: datetime | None = None,
    now: datetime | None = None,
) -> Frozen:
    """Freeze one dispatch of an alert and ring for it after the commit.

    Raises Missing, Invalid (unknown area, no sender) or Conflict (the frozen batches do not add up).
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
    expires_at = min(
        alert.expires_at or datetime.max.replace(tzinfo=now.tzinfo),
        (not_before or now) + LIFETIME[alert.urgency],
    )
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
    segments = _render(session, alert, dispatch, senders, public_url)
    session.flush()
    session.execute(
        _FREEZE,
        who.parameters()
        | {
            "senders": [s.id for s in senders],
            "sms_batch": SMS_BATCH,
            "batch": BATCH_SIZE,
            "dispatch": dispatch.id,
            "language": alert.language,
            "lane": lane,
            "urgency": alert.urgency,
            "exercise": exercise,
            "segments_two_way": segments["two-way"],
            "segments_one_way": segments["alphanumeric"],
            "not_before": dispatch.not_before,
            "expires_at": expires_at,
        },
    )
    batches, total, distinct = session.execute(_SUMS, {"dispatch": dispatch.id}).one()
    if total != distinct:
        raise Conflict("The frozen batches hold somebody twice: nothing was sent.")
    dispatch.recipients = total
    if alert.state != "sent":  # what was sent before stays as it was
        alert.state, alert.changed_at = "sent", now
    if not exercise:
        published.publish(session, alert, now=dispatch.not_before)
    audit.record(
        session,
        event="alert:send",
        subject=f"alert:{alert.id}",
        actor=actor,
        organisation=alert.controller_id,
        detail={"dispatch": str(dispatch.id), "recipients": total, "batches": batches, "exercise": exercise},
    )
    session.flush()
    _ring(session, lane, min(batches, MOST_RINGS))
    return Frozen(dispatch.id, total, batches)


def _ring(session: Session, lane: int, times: int) -> None:
    urgent = lane == URGENT_LANE
    # Rings that are alike are rung once: the number lets several workers hear.
    for nth in range(times):
        queue.ring(
            session, Queue.URGENT if urgent else Queue.BULK, "workers.send.drain", urgent=urgent, nth=nth
        )


def _as_sent(session: Session, dispatch: Dispatch) -> Frozen:
    batches = session.execute(_SUMS, {"dispatch": dispatch.id}).one()[0]
    return Frozen(dispatch.id, dispatch.recipients, batches, repeated=True)


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


def stop(session: Session, dispatch_id: UUID, *, actor: audit.Actor, why: str) -> None:
    """Stop a dispatch within one batch or window. Those not yet sent to end as *stopped*."""
    if not why.strip() or len(why) > 500:
        raise Invalid("why", "Say in up to 500 characters why it is stopped.")
    dispatch = session.get(Dispatch, dispatch_id, with_for_update=True)
    if dispatch is None:
        raise Missing("There is no such dispatch.")
    if dispatch.finished_at is not None:
        raise Conflict("This dispatch has already finished.")
    if dispatch.state == "stopped":
        return
    dispatch.state = "stopped"
    dispatch.stopped_at = utc_now()
    session.flush()
    session.execute(
        sa.text(
            "UPDATE batches SET not_before = least(not_before, now()) WHERE dispatch_id = :d AND state = 'waiting'"
        ),
        {"d": dispatch_id},
    )
    audit.record(
        session,
        event="dispatch:stop",
        subject=f"dispatch:{dispatch_id}",
        actor=actor,
        organisation=dispatch.controller_id,
        why=why,
    )
    _ring(session, dispatch.lane, 1)
