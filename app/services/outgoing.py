"""What becomes of service messages: claimed, sent by a worker, and never sent again in doubt.

On record as *sending*, committed, before the first byte leaves. What a message says, and to whom, goes as soon as
its fate is known; a message is the ledger's rules for one person (design §5).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.models.ledger import BACKLOG_SECONDS
from app.services.ledger import attempts
from messaging import email_address
from messaging.types import Channel, Outcome, SendResult

log = structlog.get_logger(__name__)

LONGEST_BACK_OFF = 300.0  # seconds
STOPPED, UNREADABLE, NO_SENDER, OVERTAKEN = "stopped", "unreadable", "no-sender", "not-taken"
_SEALED = ("address", "subject", "text", "html", "stop_url")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way, opened. ``sender`` is empty where EMAIL_FROM is meant."""

    id: UUID
    kind: str
    tries: int
    channel: Channel
    address: str
    digest: bytes
    subject: str
    text: str
    html: str
    stop_url: str
    controller: UUID | None
    sender_id: int | None
    sender: str
    sender_name: str
    segments: int
    synthetic: bool
    expires_at: datetime


_DUE = sa.text(
    """
    SELECT m.id, m.kind, m.tries, m.channel, m.controller_id, m.sender_id, m.segments, m.synthetic, m.expires_at,
        m.address_enc, m.subject_enc, m.text_enc, m.html_enc, m.stop_url_enc,
        s.address AS sender, s.display_name, coalesce(s.active, m.channel = 'email') AS can_send
    FROM service_messages m LEFT JOIN senders s ON s.id = m.sender_id
    WHERE m.state = 'waiting' AND m.not_before <= :now AND m.expires_at > :now
      AND m.channel = ANY(CAST(:channels AS text[]))
    ORDER BY m.not_before, m.id LIMIT :most FOR UPDATE OF m SKIP LOCKED
    """
)
_OPEN = sa.text(
    """
    UPDATE service_messages SET state = 'sending', opened_at = :now, tries = tries + 1
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_LATER = sa.text(
    """
    UPDATE service_messages m SET not_before = r.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:ats AS timestamptz[])) AS r(id, at) WHERE m.id = r.id
    """
)
_GONE = "closed_at = :now, address_enc = NULL, subject_enc = NULL, text_enc = NULL, html_enc = NULL, stop_url_enc = NULL"
_REFUSE = sa.text(
    f"""
    UPDATE service_messages m SET state = 'refused', reason = r.reason, {_GONE}
    FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[])) AS r(id, reason) WHERE m.id = r.id
    """
)


def claim_due(
    session: Session, most: int, now: datetime, channels: Iterable[Channel] = tuple(Channel)
) -> list[Outgoing]:
    """Take up to ``most`` messages that are due and may go now. Commit before the first byte.

    Whoever said STOP or whose address is dead is refused here, right before the send; a text whose sender's
    queue at the provider is full waits for its turn.
    """
    values = {"now": now, "most": most, "channels": [str(c) for c in channels]}
    opened: list[Outgoing] = []
    refused: dict[UUID, str] = {}
    for row in session.execute(_DUE, values).mappings().all():
        message = _opened(row) if row["can_send"] else NO_SENDER
        if isinstance(message, str):
            refused[row["id"]] = message
        else:
            opened.append(message)
    refused |= dict.fromkeys(_suppressed(session, opened), STOPPED)
    if refused:
        session.execute(_REFUSE, {"ids": list(refused), "reasons": list(refused.values()), "now": now})
    left = [m for m in opened if m.id not in refused]
    later = _turns(session, left, now)
    if later:
        session.execute(_LATER, {"ids": list(later), "ats": list(later.values())})
    going = [m for m in left if m.id not in later]
    if going:
        session.execute(_OPEN, {"ids": [m.id for m in going], "now": now})
    return going


def _opened(row: Mapping[Any, Any]) -> Outgoing | str:
    """A message with its values decrypted, or why it cannot be sent: one damaged value stops no other."""
    keyring = crypto.keyring()
    values = {}
    try:
        for name in _SEALED:
            blob = row[f"{name}_enc"]
            values[name] = "" if blob is None else keyring.decrypt(bytes(blob), f"service_messages.{name}")
        channel = Channel(row["channel"])
        if channel is Channel.EMAIL:
            form = email_address.parse(values["address"], allow_special_use=True).form
            digest = keyring.digest("email", form)
        else:
            digest = keyring.digest("phone", values["address"])
    except (crypto.CryptoError, email_address.EmailError):
        log.error("service_message_unreadable", message=str(row["id"]))
        return UNREADABLE
    return Outgoing(
        id=row["id"],
        kind=row["kind"],
        tries=row["tries"] + 1,
        channel=channel,
        digest=digest,
        controller=row["controller_id"],
        sender_id=row["sender_id"],
        sender=row["sender"] or "",
        sender_name=row["display_name"] or "",
        segments=row["segments"],
        synthetic=row["synthetic"],
        expires_at=row["expires_at"],
        **values,
    )


# A code that somebody asks for may follow on an alert that they left; only a STOP, what a provider holds, a
# complaint and a dead mailbox forbid it. An answer, thanks or a reminder nobody asked for anew: any no forbids it. STOP to a
# number binds all who write from it.
_SUPPRESSED = sa.text(
    """
    SELECT DISTINCT r.id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:digests AS bytea[]),
        CAST(:controllers AS uuid[]), CAST(:senders AS int[]), CAST(:kinds AS text[]))
        AS r(id, channel, digest, controller_id, sender_id, kind)
    JOIN suppressions p ON p.digest = r.digest AND p.channel = r.channel AND p.lifted_at IS NULL
        AND p.topic IS NULL
    LEFT JOIN senders mine ON mine.id = r.sender_id
    LEFT JOIN senders theirs ON theirs.id = p.sender_id
    WHERE (r.kind LIKE 'reply-%' OR r.kind = 'camera' OR p.reason = ANY(
          CASE r.channel WHEN 'sms' THEN ARRAY['stop', 'provider', 'complaint'] ELSE ARRAY['bounce', 'complaint'] END))
      AND (p.controller_id IS NULL OR p.controller_id = r.controller_id OR theirs.address = mine.address)
    """
)


def _suppressed(session: Session, messages: Sequence[Outgoing]) -> list[UUID]:
    if not messages:
        return []
    values = {
        "ids": [m.id for m in messages],
        "channels": [str(m.channel) for m in messages],
        "digests": [m.digest for m in messages],
        "controllers": [m.controller for m in messages],
        "senders": [m.sender_id for m in messages],
        "kinds": [m.kind for m in messages],
    }
    return list(session.execute(_SUPPRESSED, values).scalars())


def _turns(session: Session, messages: Sequence[Outgoing], now: datetime) -> dict[UUID, datetime]:
    """Who must wait for the sender's turn, and until when. Senders in order, as every claim locks them."""
    later: dict[UUID, datetime] = {}
    full: dict[int, datetime] = {}
    texts = [m for m in messages if m.channel is Channel.SMS]
    for message in sorted(texts, key=lambda m: m.sender_id or 0):
        sender = message.sender_id or 0
        if sender not in full:
            wait = attempts.take_turn(session, sender, message.segments, BACKLOG_SECONDS)
            if wait is None:
                continue
            full[sender] = now + timedelta(seconds=max(0.05, wait))
        later[message.id] = full[sender]
    return later


# -- recording
# By id and try: an answer that is written twice finds nothing, even when the message has left again meanwhile.
_MINE = "id = :id AND tries = :tries AND state IN"
_CLOSE = sa.text(
    f"""
    UPDATE service_messages SET state = :state, reason = nullif(:reason, ''), provider_ref = :ref, {_GONE}
    WHERE {_MINE} ('sending', 'in_doubt')
    """
)
_AGAIN = sa.text(
    f"UPDATE service_messages SET state = 'waiting', not_before = :at, reason = :reason WHERE {_MINE} ('sending')"
)


def record(session: Session, sent: Outgoing, result: SendResult, *, now: datetime) -> None:
    """Write down what a provider answered. Twice is once.

    What was not taken waits again while its time lasts. Of a message that the sweeper held for lost nothing is
    left to send: proof that it was not taken ends it as refused.
    """
    key = {
        "id": sent.id,
        "tries": sent.tries,
        "now": now,
        "ref": result.provider_ref,
        "reason": result.reason,
    }
    refused = bool(result.rejected) or result.bisect or not result.retryable
    match result.outcome:
        case Outcome.TAKEN:
            state, key["reason"] = "sent", ""
        case Outcome.IN_DOUBT:
            state = "in_doubt"
        case Outcome.NOT_TAKEN if not refused:
            at = now + timedelta(seconds=_back_off(sent.tries, result.retry_after))
            if at < sent.expires_at:
                again: int = session.execute(_AGAIN, key | {"at": at}).rowcount  # type: ignore[attr-defined]
                if again:
                    return
                state, key["reason"] = "refused", OVERTAKEN
            else:
                state = "expired"
        case _:
            state, key["reason"] = "refused", next(iter(result.rejected.values()), result.reason)
    session.execute(_CLOSE, key | {"state": state})


def _back_off(tries: int, retry_after: float | None) -> float:
    """Seconds until another try: jittered, doubling, never sooner than the provider asks."""
    wait = min(LONGEST_BACK_OFF, 2.0 ** min(tries, 9)) * random.uniform(0.5, 1.0)  # noqa: S311
    return max(wait, retry_after or 0.0)


# -- sweeping
_DOUBT = sa.text(
    f"""
    UPDATE service_messages SET state = 'in_doubt', reason = 'worker lost', {_GONE}
    WHERE state = 'sending' AND opened_at < :before RETURNING id
    """
)
_EXPIRE = sa.text(
    f"""
    UPDATE service_messages SET state = 'expired', {_GONE}
    WHERE state = 'waiting' AND expires_at <= :now RETURNING id
    """
)


def sweep(session: Session, *, lease: timedelta, now: datetime) -> list[UUID]:
    """Close what ran out of time. The ids of messages now in doubt: their worker was lost ``lease`` ago."""
    session.execute(_EXPIRE, {"now": now})
    return list(session.execute(_DOUBT, {"before": now - lease, "now": now}).scalars())


_ANY_DUE = sa.text(
    "SELECT EXISTS (SELECT 1 FROM service_messages WHERE state = 'waiting' AND not_before <= :now "
    "AND expires_at > :now AND channel = ANY(CAST(:channels AS text[])))"
)


def due(session: Session, *, now: datetime, channels: Collection[Channel] = tuple(Channel)) -> bool:
    """Whether anything waits on these channels whose time has come, and is not over."""
    values = {"now": now, "channels": [str(c) for c in channels]}
    return bool(session.execute(_ANY_DUE, values).scalar_one())


# -- what providers report later
# A bounce says that the address is dead, for everybody; a complaint is about the controller who wrote.
_SUPPRESS = sa.text(
    """
    INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason)
    -- A complaint comes before an unsubscribe, and outranks one that stands.
    SELECT DISTINCT ON (c.channel, c.digest, controller) c.channel, c.digest, c.digest_key,
        CASE r.why WHEN 'bounce' THEN NULL ELSE m.controller_id END AS controller, r.why
    FROM unnest(CAST(:ids AS uuid[]), CAST(:whys AS text[])) AS r(id, why)
    JOIN service_messages m ON m.id = r.id
    JOIN contact_points c ON c.id = m.contact_id
    WHERE r.why = 'bounce' OR m.controller_id IS NOT NULL
    ORDER BY c.channel, c.digest, controller, r.why
    ON CONFLICT (digest, channel, controller_id, topic, sender_id) WHERE lifted_at IS NULL
        DO UPDATE SET reason = excluded.reason
        WHERE suppressions.reason IN ('left', 'unsubscribe') AND excluded.reason = 'complaint'
    """
)


def suppress(session: Session, reported: Iterable[tuple[UUID, str]]) -> int:
    """Put out of reach whoever's receipts say so: (message, why) each. Ids that are no message's lead nowhere."""
    pairs = sorted(set(reported))
    if not pairs:
        return 0
    values = {"ids": [p[0] for p in pairs], "whys": [p[1] for p in pairs]}
    added: int = session.execute(_SUPPRESS, values).rowcount  # type: ignore[attr-defined]
    if added:
        audit.record(
            session,
            event="suppression:add",
            subject="table:service_messages",
            actor=audit.Actor(audit.ActorKind.PROVIDER, origin="worker:receipts"),
            s62=audit.S62.ALTERATION,
            detail={"added": added},
        )
    return added
