"""The complaint brake: bulk e-mail of a domain that people complain about, or that bounces, is held.

Only a human releases it. Urgent mail goes on, and with it every risk to life: it is never held.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now
from app.errors import Invalid, Missing
from app.models.routes import Brake

log = structlog.get_logger(__name__)

HOURS = 24
MOST_LISTED = 500
COMPLAINTS, COMPLAINT_SHARE = 5, 0.001
BOUNCES, BOUNCE_SHARE = 20, 0.05

# Mail that left in the last 24 hours, by its sender's domain: found by the attempts that closed (an index), counted
# by the counters of their batches. What left before a release is not held against the domain again.
_COUNT = sa.text(
    """
    WITH mail AS (
        SELECT id, lower(split_part(address, '@', 2)) AS domain FROM senders WHERE channel = 'email'
    ), open_since AS (
        SELECT m.id, m.domain, greatest(:now - make_interval(hours => :hours), max(b.released_at)) AS since,
            coalesce(bool_or(b.id IS NOT NULL AND b.released_at IS NULL), false) AS pulled
        FROM mail m LEFT JOIN brakes b ON b.domain = m.domain GROUP BY m.id, m.domain
    ), left_by AS (
        SELECT DISTINCT a.dispatch_id, a.batch_n, a.sender_id
        FROM attempts a JOIN open_since o ON o.id = a.sender_id AND NOT o.pulled
        WHERE a.provider = ANY(CAST(:providers AS text[])) AND a.closed_at IS NOT NULL
          AND a.closed_at > :now - make_interval(hours => :hours) AND a.closed_at > o.since
          AND a.outcome IN ('taken', 'in_doubt')
    ), counted AS (
        SELECT o.domain, sum(b.accepted + b.delivered + b.bounced + b.complained) AS accepted,
            sum(b.complained) AS complained, sum(b.bounced) AS bounced
        FROM left_by l JOIN open_since o ON o.id = l.sender_id
        JOIN batches b ON b.dispatch_id = l.dispatch_id AND b.n = l.batch_n
        GROUP BY o.domain
    )
    SELECT domain, accepted, complained, bounced FROM counted
    WHERE (complained >= :complaints AND complained >= :complaint_share * accepted)
       OR (bounced >= :bounces AND bounced >= :bounce_share * accepted)
    """
)
_PULL = sa.text(
    """
    INSERT INTO brakes (domain, why, accepted, complained, bounced, pulled_at)
    VALUES (:domain, :why, :accepted, :complained, :bounced, :now)
    ON CONFLICT (domain) WHERE released_at IS NULL DO NOTHING RETURNING id
    """
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A brake that was pulled just now, and what was counted."""

    domain: str
    why: str
    accepted: int
    complained: int
    bounced: int


def check(session: Session, providers: list[str], *, now: datetime | None = None) -> list[Pulled]:
    """Pull the brake of every domain that is over the line. For the scheduler, about every 10 seconds.

    ``providers``: those that send e-mail.
    """
    now = now or utc_now()
    values = {
        "now": now,
        "hours": HOURS,
        "providers": providers,
        "complaints": COMPLAINTS,
        "complaint_share": COMPLAINT_SHARE,
        "bounces": BOUNCES,
        "bounce_share": BOUNCE_SHARE,
    }
    pulled = []
    for domain, accepted, complained, bounced in session.execute(_COUNT, values).all():
        complaints = complained >= COMPLAINTS and complained >= COMPLAINT_SHARE * accepted
        one = Pulled(domain, "complaints" if complaints else "bounces", accepted, complained, bounced)
        made = session.execute(
            _PULL,
            {
                "domain": domain,
                "why": one.why,
                "accepted": accepted,
                "complained": complained,
                "bounced": bounced,
                "now": now,
            },
        ).scalar_one_or_none()
        if made is None:
            continue
        pulled.append(one)
        log.error("brake_pulled", domain=domain, why=one.why, complained=complained, bounced=bounced)
        audit.record(
            session,
            event="brake:pull",
            subject=f"brake:{made}",
            actor=audit.SYSTEM,
            detail={
                "domain": domain,
                "why": one.why,
                "accepted": int(accepted),
                "complained": int(complained),
                "bounced": int(bounced),
            },
        )
    return pulled


def release(session: Session, domain: str, *, why: str, actor: audit.Actor) -> Brake:
    """Let the bulk mail of a domain go again. Raises Missing when its brake is not pulled, or Invalid."""
    if not why.strip() or len(why) > 500 or not why.isprintable():
        raise Invalid("why", "Say in up to 500 characters why it may go on.")
    found = session.scalar(
        sa.select(Brake).where(Brake.domain == domain.lower(), Brake.released_at.is_(None)).with_for_update()
    )
    if found is None:
        raise Missing("The brake of this domain is not pulled.")
    found.released_at = utc_now()
    found.released_by = f"{actor.kind}:{actor.id}" if actor.id else str(actor.kind)
    found.release_why = why
    session.flush()
    audit.record(session, event="brake:release", subject=f"brake:{found.id}", actor=actor, why=why)
    return found


def pulled(session: Session) -> list[Brake]:
    """The brakes that hold mail now, the oldest first."""
    return list(
        session.scalars(
            sa.select(Brake).where(Brake.released_at.is_(None)).order_by(Brake.pulled_at).limit(MOST_LISTED)
        )
    )
