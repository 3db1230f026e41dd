"""Digests: what waited for them is sent as one e-mail, a dispatch like any other (decision 0026).

People with the same messages share one dispatch. An item goes into one digest or none, ever.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import AWAY, new_id
from app.errors import Conflict, ServiceError
from app.models.alerts import Alert
from app.models.ledger import BETWEEN_TOPICS, BULK_LANE, Dispatch, DispatchContent
from app.models.organisations import Organisation, Sender
from app.services import dispatch, freeze, published
from app.services.budgets import reserving
from app.services.budgets.allowances import USUAL_PRICES, Prices
from messaging import render
from messaging.types import Channel

log = structlog.get_logger(__name__)

LIFETIME = timedelta(days=1)
MOST_ITEMS = 20_000  # looked at in one go, so that nothing else of the scheduler waits long
MOST_SETS = 50
TRY_AGAIN = timedelta(minutes=30)
PATIENCE_DAYS = 14  # after which a message without an end of its own, that no digest could carry, is over
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('wardlink.digests'))")
_PLAN_ANEW = sa.text("SET LOCAL plan_cache_mode = force_custom_plan")
_DUE = """
    WITH people AS (
        SELECT DISTINCT contact_id, controller_id FROM (
            SELECT contact_id, controller_id FROM digest_items WHERE state = 'waiting' AND due_at <= :now
            ORDER BY due_at LIMIT :items
        ) first
    ), due AS (
        SELECT i.* FROM people p JOIN digest_items i ON i.contact_id = p.contact_id
            AND i.controller_id = p.controller_id AND i.state = 'waiting' AND i.due_at <= :now
    )
"""
# Whoever stopped, was erased or need no longer know gets nothing of it; the rest of the digest stays.
_SETTLE = sa.text(
    _DUE
    + """
    , judged AS (
        SELECT i.dispatch_id, i.contact_id, CASE
            WHEN c.id IS NULL THEN 'erased'
            WHEN d.state = 'stopped' THEN 'stopped'
            WHEN coalesce(a.expires_at, d.expires_at + make_interval(days => :patience)) <= :now THEN 'expired'
            WHEN NOT EXISTS (
                SELECT 1 FROM consents k WHERE k.contact_id = i.contact_id AND k.controller_id = i.controller_id
                  AND k.purpose = 'alerts' AND k.withdrawn_at IS NULL
            ) OR EXISTS (
                SELECT 1 FROM suppressions x
                WHERE x.digest = c.digest AND x.channel = c.channel AND x.lifted_at IS NULL
                  AND (x.controller_id IS NULL OR x.controller_id = i.controller_id)
                  AND (x.topic IS NULL OR x.topic = d.topic)
            ) THEN 'stopped' END AS state
        FROM due i JOIN dispatches d ON d.id = i.dispatch_id JOIN alerts a ON a.id = d.alert_id
        LEFT JOIN contact_points c ON c.id = i.contact_id
    )
    UPDATE digest_items i SET state = j.state, settled_at = :now
    FROM judged j
    WHERE i.dispatch_id = j.dispatch_id AND i.contact_id = j.contact_id AND i.state = 'waiting' AND j.state IS NOT NULL
    """
)
# Who chose other quiet hours meanwhile is left in peace, and a dispatch that is paused holds the whole digest.
_PUT_OFF = sa.text(
    _DUE
    + """
    , held AS (
        SELECT p.contact_id, p.controller_id,
            greatest(CASE WHEN f.quiet_from IS NOT NULL THEN quiet_end(:now, f.quiet_from, f.quiet_until) END,
                CASE WHEN EXISTS (SELECT 1 FROM due i JOIN dispatches d ON d.id = i.dispatch_id
                WHERE i.contact_id = p.contact_id AND i.controller_id = p.controller_id AND d.state = 'paused'
                  AND d.finished_at IS NULL  -- one that ran out of time while it was paused can never go on
            ) THEN CAST(:again AS timestamptz) END) AS until
        FROM people p LEFT JOIN contact_preferences f ON f.contact_id = p.contact_id
    )
    UPDATE digest_items i SET due_at = h.until
    FROM held h
    WHERE i.contact_id = h.contact_id AND i.controller_id = h.controller_id AND i.state = 'waiting'
      AND i.due_at <= :now AND h.until > :now
    """
)
_SETS = sa.text(
    _DUE
    + """
    , carried AS (
        SELECT contact_id, controller_id, array_agg(dispatch_id ORDER BY dispatch_id) AS items
        FROM due GROUP BY contact_id, controller_id
    )
    SELECT controller_id, items, array_agg(contact_id ORDER BY contact_id) FROM carried
    GROUP BY controller_id, items ORDER BY controller_id, items LIMIT :sets
    """
)
_OF_THESE = (
    "state = 'waiting' AND contact_id = ANY(CAST(:contacts AS bigint[])) "
    "AND dispatch_id = ANY(CAST(:items AS uuid[]))"
)
_SENT = sa.text(
    f"UPDATE digest_items SET state = 'sent', digest_id = :digest, settled_at = :now WHERE {_OF_THESE}"
)
# What comes late counts against the cap when it comes.
_COUNT = sa.text(
    """
    UPDATE contact_sends SET at = :now
    WHERE contact_id = ANY(CAST(:contacts AS bigint[])) AND dispatch_id = ANY(CAST(:items AS uuid[])) AND at < :now
    """
)
_LATER = sa.text(f"UPDATE digest_items SET due_at = :again WHERE {_OF_THESE}")


@dataclass(frozen=True, slots=True)
class Made:
    """Dispatches that were frozen, and the addresses that they go to."""

    digests: int
    recipients: int


def send_due(
    session: Session,
    *,
    public_url: str,
    now: datetime,
    prices: Prices = USUAL_PRICES,
    items: int = MOST_ITEMS,
    sets: int = MOST_SETS,
) -> Made:
    """Freeze some of the digests that are due; call it again for the rest. Whoever else does it now goes first.

    A digest that its organisation may not send today is tried again later.
    """
    if not session.execute(_ALONE).scalar_one():
        return Made(0, 0)
    # A plan kept from when few waited would take hours when many do.
    session.execute(_PLAN_ANEW)
    values = {"now": now, "items": items, "again": now + TRY_AGAIN}
    session.execute(_SETTLE, {"now": now, "items": items, "patience": PATIENCE_DAYS})
    session.execute(_PUT_OFF, values)
    made = recipients = 0
    found = session.execute(_SETS, {"now": now, "items": items, "sets": sets}).all()
    for controller, alerts, contacts in found:
        try:
            with session.begin_nested():
                _send(session, controller, alerts, contacts, public_url=public_url, prices=prices, now=now)
            made, recipients = made + 1, recipients + len(contacts)
            continue
        except AWAY:
            raise
        except ServiceError as error:  # no sender, or over a limit
            log.warning("digest_waits", controller=str(controller), why=str(error))
        except Exception:  # one digest that cannot be made must stop neither the others nor the scheduler
            log.exception("digest_failed", controller=str(controller), alerts=len(alerts))
        session.execute(_LATER, {"again": now + TRY_AGAIN, "contacts": contacts, "items": alerts})
    return Made(made, recipients)


def _send(
    session: Session,
    controller: UUID,
    carried: Sequence[UUID],
    contacts: Sequence[int],
    *,
    public_url: str,
    prices: Prices,
    now: datetime,
) -> None:
    """One digest to everybody who waits for exactly these dispatches."""
    entries = _entries(session, carried)
    # Never added: it says through which senders this organisation would write.
    wanted = Alert(controller_id=controller, urgency="routine", channels=[str(Channel.EMAIL)])
    senders = dispatch.choose_senders(session, wanted)
    topics = {one.alert.topic for one in entries}
    languages = {one.alert.language for one in entries}
    language = languages.pop() if len(languages) == 1 else "en"
    id = new_id()
    digest = Dispatch(
        id=id,
        alert_id=None,
        controller_id=controller,
        send_token=f"digest:{id}",
        urgency="routine",
        lane=BULK_LANE,
        topic=BETWEEN_TOPICS.join(sorted(topics)),
        exercise=all(one.exercise for one in entries),
        recipients=0,
        not_before=now,
        expires_at=now + LIFETIME,
    )
    session.add(digest)
    session.flush()
    _write(session, digest, entries, senders, language, public_url)
    session.flush()
    counted = freeze.freeze_digest(session, digest, contacts, senders=senders, language=language)
    digest.recipients = counted.recipients
    values = {"digest": id, "now": now, "contacts": list(contacts), "items": list(carried)}
    taken: int = session.execute(_SENT, values).rowcount  # type: ignore[attr-defined]
    if counted.recipients != len(contacts) or taken != len(contacts) * len(carried):
        raise Conflict("Somebody's digest changed while it was made: it is made again.")
    session.execute(_COUNT, {k: values[k] for k in ("now", "contacts", "items")})
    reserving.reserve(session, digest, prices)
    audit.record(
        session,
        event="digest:send",
        subject=f"dispatch:{id}",
        actor=audit.SYSTEM,
        organisation=controller,
        detail={"recipients": counted.recipients, "batches": counted.batches, "alerts": len(carried)},
    )
    session.flush()


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a digest."""

    alert: Alert
    exercise: bool


def _entries(session: Session, carried: Sequence[UUID]) -> list[Entry]:
    rows = session.execute(
        sa.select(Alert, Dispatch.exercise)
        .join(Dispatch, Dispatch.alert_id == Alert.id)
        .where(Dispatch.id.in_(carried))
        .order_by(Dispatch.id)
    )
    return [Entry(alert, exercise) for alert, exercise in rows]


def _write(
    session: Session,
    digest: Dispatch,
    entries: Sequence[Entry],
    senders: Sequence[Sender],
    language: str,
    public_url: str,
) -> None:
    controller = session.get_one(Organisation, digest.controller_id).name
    nonce = secrets.token_hex(6)
    count = "1 message" if len(entries) == 1 else f"{len(entries)} messages"
    mail = render.compile_email(
        nonce=nonce,
        headline=("EXERCISE: " if digest.exercise else "")
        + f"Your digest: {count} from {_plain(controller)}",
        body_markdown="\n\n".join(_entry(one, public_url.rstrip("/")) for one in entries),
        what_to_do="",
        reference=", ".join(dict.fromkeys(one.alert.reference for one in entries)),
        controller_name=controller,
        from_email="",
        from_name="",
        language=language,
        public_url=public_url,
    )
    for kind in sorted({s.kind for s in senders}):
        session.add(
            DispatchContent(
                dispatch_id=digest.id,
                channel=str(Channel.EMAIL),
                language=language,
                sender_kind=kind,
                nonce=nonce,
                subject=mail.subject,
                text=mail.text,
                html=mail.html,
            )
        )


def _entry(one: Entry, site: str) -> str:
    """A headline and the first words with a link to all of it; all of it where there is no page to read it on."""
    alert = one.alert
    mark = "EXERCISE: " if one.exercise else ""
    parts = [f"## {_words(mark + published.filled(alert.headline))}"]
    if alert.restricted or one.exercise:
        parts += [published.filled(alert.body), published.filled(alert.what_to_do)]
    else:
        link = f"{site}/alert/{alert.reference}"
        parts += [_words(published.start(published.filled(alert.body))), f"Read all of it: <{link}>"]
    return "\n\n".join(part for part in parts if part.strip())


def _words(text: str) -> str:
    """Plain words in one line, as Markdown that shows them just so."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def _plain(text: str) -> str:
    """Words for a subject, in which two brackets would be a place for a name."""
    return text.replace("((", "( (")
