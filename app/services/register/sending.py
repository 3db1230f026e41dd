"""Sending a request: a worker picks whom, freezes a dispatch of its own kind, and the fan-out does the rest.

It is no alert: nothing of it stands on a page, in a feed or in a list of alerts, and what leaves is a link.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import new_id
from app.errors import Conflict
from app.models.alerts import Alert
from app.models.ledger import BULK_LANE, Dispatch, DispatchContent
from app.models.organisations import Organisation, Sender
from app.models.register import CameraRequest
from app.services import dispatch, freeze, terms
from app.services.budgets import reserving
from app.services.budgets.allowances import USUAL_PRICES, Prices
from app.services.register.requests import reference
from messaging import camera, gsm7, links, render
from messaging.types import Channel

TOPIC = "camera requests"
ACTOR = audit.Actor(audit.ActorKind.SYSTEM, origin="worker:cameras")
MOST = 50

_PENDING = sa.text(
    """
    SELECT id FROM camera_requests WHERE thanked_at IS NULL AND state = 'asking' AND asked_band = '' AND expires_at > :now
    ORDER BY id LIMIT :most
    """
)
_PICK = sa.text("SELECT contact_id, channel FROM register.pick(:request, :dispatch)").bindparams(
    sa.bindparam("request", type_=sa.Uuid), sa.bindparam("dispatch", type_=sa.Uuid)
)
_EXPIRE = sa.text("SELECT register.expire(:now)")


def pending(session: Session, *, now: datetime) -> list[UUID]:
    """Requests that nobody has sent yet, the oldest first."""
    return list(session.scalars(_PENDING, {"now": now, "most": MOST}))


def expire(session: Session, *, now: datetime) -> int:
    """Requests whose time is over end; how many."""
    done: int = session.execute(_EXPIRE, {"now": now}).scalar_one()
    return done


def send(
    session: Session, request_id: UUID, *, public_url: str, prices: Prices = USUAL_PRICES, now: datetime
) -> int:
    """Pick the owners and freeze a dispatch to them; how many. None of it is left when it fails, so it is tried again.

    Raises Invalid when there is nobody to send from, Conflict when the organisation may not send so much.
    """
    id = new_id()
    picked = session.execute(_PICK, {"request": request_id, "dispatch": id}).all()
    if not picked:
        return 0
    request = session.get_one(CameraRequest, request_id, populate_existing=True)
    organisation = session.get_one(Organisation, request.organisation_id)
    if organisation.ended_at is not None:
        raise Conflict("This organisation has ended: nothing is sent.")
    emails, phones = ([c for c, channel in picked if channel == wanted] for wanted in ("email", "sms"))
    channels = [channel for channel, ids in (("email", emails), ("sms", phones)) if ids]
    # Never added: it says through which senders this organisation would write.
    senders = dispatch.choose_senders(
        session, Alert(controller_id=organisation.id, urgency="routine", channels=channels)
    )
    made = Dispatch(
        id=id,
        alert_id=None,
        controller_id=organisation.id,
        send_token=f"camera:{request_id}",
        urgency="routine",
        lane=BULK_LANE,
        topic=TOPIC,
        recipients=0,
        not_before=now,
        expires_at=request.expires_at,
    )
    session.add(made)
    session.flush()
    segments = _write(session, made, request, organisation.name, senders, public_url)
    session.flush()
    counted = freeze.freeze_these(
        session, made, emails, phones, senders=senders, language="en", segments=segments
    )
    if counted.recipients != len(picked):
        raise Conflict("Not everybody who was picked is in the frozen batches: nothing was sent.")
    made.recipients = counted.recipients
    reserving.reserve(session, made, prices)
    audit.record(
        session,
        event="request:send",
        subject=f"request:{request_id}",
        actor=ACTOR,
        organisation=organisation.id,
        detail={"dispatch": id},
    )
    session.flush()
    return counted.recipients


def _write(
    session: Session,
    made: Dispatch,
    request: CameraRequest,
    name: str,
    senders: list[Sender],
    public_url: str,
) -> dict[str, int]:
    """What will be said, once per channel and kind of sender; segments per text."""
    nonce, site = secrets.token_hex(6), public_url.rstrip("/")
    segments = {"two-way": 1, "alphanumeric": 1}
    mail = camera.compile_email(
        nonce=nonce,
        reference=reference(request.id),
        controller_name=name,
        answer_by=terms.last_day(request.expires_at),
    )
    for channel, kind in sorted({(s.channel, s.kind) for s in senders}):
        subject, text, html = mail.subject, mail.text, mail.html
        if channel == Channel.SMS:
            subject, html = "", ""
            text = render.compile_camera_sms(reference(request.id), name, two_way=kind == "two-way")
            widest = render.fill_sms(
                text, stop_url=links.sample(links.STOP, site), camera_url=links.sample(links.CAMERA, site)
            )
            segments[kind] = gsm7.segments(widest).segments
        session.add(
            DispatchContent(
                dispatch_id=made.id,
                channel=channel,
                language="en",
                sender_kind=kind,
                nonce=nonce,
                subject=subject,
                text=text,
                html=html,
            )
        )
    return segments
