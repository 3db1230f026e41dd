"""Texts that people sent while nobody heard: read from Twilio's list, and kept as if they had come by webhook."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.receipts import RawEvent
from app.services import inbound, limits

EVERY = timedelta(minutes=2)
OVERLAP = timedelta(minutes=10)  # a list may show a text a little later than it came
FIRST = timedelta(days=1)
OLDEST = timedelta(days=3)


class Box(NamedTuple):
    """One of our numbers, and since when its texts are to be read."""

    provider: str
    number: str
    since: datetime


class Text(NamedTuple):
    """A text as the provider's list shows it."""

    sid: str
    sender: str
    to: str
    body: str
    at: datetime


_DUE = sa.text(
    """
    SELECT s.provider, s.address, p.through_at
    FROM (SELECT DISTINCT provider, address FROM senders
          WHERE channel = 'sms' AND kind = 'two-way' AND provider = ANY(CAST(:providers AS text[]))) s
    LEFT JOIN inbound_polls p USING (provider, address)
    WHERE p.polled_at IS NULL OR p.polled_at <= :before
    ORDER BY p.polled_at NULLS FIRST, s.address LIMIT :most
    """
)
_READ = sa.text(
    """
    INSERT INTO inbound_polls (provider, address, through_at, polled_at) VALUES (:provider, :address, :now, :now)
    ON CONFLICT (provider, address) DO UPDATE
        SET through_at = greatest(inbound_polls.through_at, excluded.through_at), polled_at = excluded.polled_at
    """
)


def due(session: Session, providers: Sequence[str], *, now: datetime, most: int = 50) -> list[Box]:
    """The numbers to read now, those first that were read longest ago."""
    values = {"providers": list(providers), "before": now - EVERY, "most": most}
    return [
        Box(provider, number, max(now - OLDEST, (through - OVERLAP) if through else now - FIRST))
        for provider, number, through in session.execute(_DUE, values)
    ]


def keep(session: Session, box: Box, texts: Sequence[Text], *, now: datetime) -> int:
    """Keep the texts that were not acted on yet, in their order; how many. ``now``: when the list was asked for."""
    memory = [limits.Limit("text", text.sid, 1, inbound.REMEMBERED) for text in texts]
    seen = limits.any_used(session, memory, at=[(text.at, now) for text in texts])
    fresh = [text for text, known in zip(texts, seen, strict=True) if not known]
    if fresh:
        session.execute(
            sa.insert(RawEvent), [{"source": "twilio-inbound", "body": _as_called(text)} for text in fresh]
        )
    session.execute(_READ, {"provider": box.provider, "address": box.number, "now": now})
    return len(fresh)


def _as_called(text: Text) -> str:
    return urlencode(
        {
            "MessageSid": text.sid,
            "From": text.sender,
            "To": text.to,
            "Body": text.body,
            "wl_sent": text.at.isoformat(),
        }
    )
