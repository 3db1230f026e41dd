"""Raw events go after 30 days, and the deletion is on the record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from app.models.audit import AuditEntry
from app.models.receipts import RawEvent
from app.services import retention
from config.fields import Part
from tests.conftest import Database

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_raw_events_older_than_thirty_days_are_deleted_in_blocks_and_younger_ones_stay(
    committed: Database,
) -> None:
    app, worker = committed.open(Part.APP), committed.open(Part.WORKER)
    ages = [
        timedelta(days=31),
        timedelta(days=40),
        timedelta(days=30, seconds=1),
        timedelta(days=29),
        timedelta(0),
    ]
    with app.sessions.begin() as session:
        session.add_all(RawEvent(source="sendgrid", body="[]", received_at=NOW - age) for age in ages)
    counts = []
    for _ in range(3):
        with worker.sessions.begin() as session:
            counts.append(retention.purge_raw_events(session, now=NOW, most=2))
    with app.sessions() as session:
        kept = session.scalars(sa.select(RawEvent.received_at)).all()
        deleted = session.scalars(
            sa.select(AuditEntry.detail).where(AuditEntry.event == "ledger:purge")
        ).all()
    assert counts == [2, 1, 0]
    assert sorted(kept) == [NOW - timedelta(days=29), NOW]
    assert list(deleted) == ['{"deleted":2}', '{"deleted":1}']
    for opened in (app, worker):
        opened.engine.dispose()
